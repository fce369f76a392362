/** The cure for a URL that `isMisread`, behind the name of its variable. */
export const MISREAD =
  'is misread: percent-encode its user and password (# is %23, / is %2F, ? is %3F, % is %25, a space is %20)'

/**
 * A `#`, `/` or `?` that is not encoded ends the part of a URL that names the host: a user is then taken for the host, and
 * the password for its port. An `@` behind it gives that away, unless it is in the value of a parameter.
 */
const AHEAD_OF_AT = /^[^/]*:\/\/[^/?#]*(\/[^?#]*|[/?][^=]*|.*#.*)@/
const RAW = /%(?![0-9a-f]{2})| /i
/** Not of two digits: those pg-connection-string mends. */
const ENCODED = /%(?!\d\d)[0-9a-f]{2}/i

/**
 * Whether something of it is taken for something else. Where a `%` or a space stands for itself, pg-connection-string
 * takes every `%` for such a one.
 */
export function isMisread(url: string): boolean {
  return AHEAD_OF_AT.test(url) || (RAW.test(url) ? ENCODED.test(url) : !isDecodable(url))
}

/** Whether each `%` begins a character that is encoded. */
export function isDecodable(url: string): boolean {
  try {
    decodeURIComponent(url)
    return true
  } catch {
    return false
  }
}
