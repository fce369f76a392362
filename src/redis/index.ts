import type { Feature } from '../core/feature.ts'
import { parts } from './parts.ts'
import plugin from './redis.ts'
import { problems, secrets, settings } from './settings.ts'

/** Redis, which no request has to wait for. */
const redis: Feature = {
  name: 'redis',
  settings,
  secrets,
  problems,
  plugin,
  parts,
  // Redis' error prefixes, and what ioredis says without a code.
  reasons: {
    codes: { auth: ['WRONGPASS', 'NOAUTH', 'NOPERM'], readonly: ['READONLY'], loading: ['LOADING'] },
    messages: [
      ['timeout', /^Socket timeout|^Command timed out/],
      ['refused', /Connection is closed/],
      ['limit', /max number of clients reached/],
    ],
  },
}

export default redis
