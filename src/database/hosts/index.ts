import { text } from '../../core/config/settings.ts'
import { POSTGRES_URL, type SeveralHosts } from '../options.ts'
import { primaryClient } from './primary.ts'

/** Several hosts, of which one takes writes: the service uses that one, and follows the role without a restart. */
const hosts: SeveralHosts = {
  name: 'hosts',
  settings: {
    DATABASE_URL: text(
      'postgres://user:password@host:5432/database; host:5432,host:5432 of which one takes writes; or the POSTGRES_ variables',
      POSTGRES_URL,
    ),
    POSTGRES_HOST: text('database host, or host,host; in place of DATABASE_URL', {
      pattern: '^[^\\s,]+(,[^\\s,]+)*$',
    }),
  },

  /** `//user@one:5432,two:5432/database`, as libpq has it. */
  urls(url) {
    const [, before, list, after] = /^([^/]+:\/\/(?:[^/?#]*@)?)([^/?#@]*)(.*)$/s.exec(url) ?? [url, url, '', '']
    return (list as string).split(',').map((host) => `${before}${host}${after}`)
  },

  client: primaryClient,
}

export default hosts
