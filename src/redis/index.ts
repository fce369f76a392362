import { Type } from 'typebox'
import { duration, problemsThatHold, type Settings, text } from '../core/config/settings.ts'
import type { Feature } from '../core/feature.ts'
import { parts } from './parts.ts'
import plugin from './redis.ts'
import { problemOf } from './url.ts'

const settings = {
  REDIS_URL: Type.String({
    default: 'redis://127.0.0.1:6379',
    description: 'redis://user:password@host:6379/0, rediss:// for TLS',
  }),
  REDIS_URL_FILE: text('file that holds REDIS_URL, read again for each new connection'),
  REDIS_COMMAND_TIMEOUT_MS: duration(500, 'a command fails when it is unanswered this long', 1),
}

declare module '../core/config/settings.ts' {
  interface Config extends Settings<typeof settings> {}
}

/** Redis, which no request has to wait for. */
const redis: Feature = {
  name: 'redis',
  settings,
  secrets: ['REDIS_URL'],
  problems,
  plugin,
  parts,
  // Redis' error prefixes, and what ioredis says without a code.
  reasons: {
    codes: {
      auth: ['WRONGPASS', 'NOAUTH', 'NOPERM'],
      limit: ['OOM'],
      loading: ['LOADING', 'MASTERDOWN'],
      // It takes no writes: a replica, one whose replicas are away, one that cannot save to its disk.
      readonly: ['READONLY', 'NOREPLICAS', 'MISCONF'],
    },
    // EXEC says no more than that a command before it failed.
    causeOf: (err) => Object(err).previousErrors?.[0],
    messages: [
      ['timeout', /^Socket timeout|^Command timed out|^BUSY Redis is busy/],
      ['refused', /Connection is closed|^Stream isn't writeable|^Reached the max retries per request/],
      ['limit', /max number of clients reached/],
    ],
  },
}

export default redis

function problems(env: NodeJS.ProcessEnv): string[] {
  const url = env['REDIS_URL']
  const problem = url && problemOf(url)
  const servers = parts.map((part) => part.setting).filter((name) => env[name])
  return problemsThatHold({
    [`REDIS_URL ${problem}`]: problem,
    [`${servers.join(' and ')} are both set`]: servers.length > 1,
  })
}
