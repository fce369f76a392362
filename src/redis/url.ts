import { isDecodable, isMisread, MISREAD } from '../core/config/urls.ts'

/** What is wrong with a URL of a Redis, to be read behind the name of its variable. */
export function problemOf(url: string): string | undefined {
  if (isMisread(url) || !isDecodable(url)) return MISREAD
  const { protocol = '', hostname = '', pathname = '' } = URL.parse(url) ?? {}
  return /^rediss?:$/.test(protocol) && hostname && /^\/?\d*$/.test(pathname) ? undefined : 'is not a URL of a Redis'
}
