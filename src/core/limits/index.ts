import { Type } from 'typebox'
import { duration, integer, problemsThatHold, type Settings } from '../config/settings.ts'
import type { Feature } from '../feature.ts'
import plugin from './limits.ts'
import { isTrust } from './proxies.ts'

const settings = {
  MAX_CONNECTIONS: integer(1_000, 1, 1_000_000, 'connections of clients at most, within half of the open files'),
  KEEP_ALIVE_TIMEOUT_MS: duration(
    620_000,
    'close a connection that is idle this long; longer than a balancer keeps it',
    1,
  ),
  HEADERS_TIMEOUT_MS: duration(10_000, 'time for the headers of a request to arrive; then 408', 1),
  REQUEST_TIMEOUT_MS: duration(60_000, 'time for a request to arrive, body included; then 408', 1),
  SEND_TIMEOUT_MS: duration(30_000, 'cut off a client that reads nothing of its answer for this long', 1),
  UNREAD_LIMIT_BYTES: Type.Optional(
    integer(
      undefined,
      0,
      Number.MAX_SAFE_INTEGER,
      'answers that are not read yet, in all; default: a quarter of the memory',
    ),
  ),
  TRUST_PROXY: Type.String({
    default: 'false',
    description: 'whose X-Forwarded- headers count: true, false, a number of proxies, or their addresses and networks',
  }),
}

declare module '../config/settings.ts' {
  interface Config extends Settings<typeof settings> {}
}

/** What clients may take of this process. */
const limits: Feature = {
  name: 'limits',
  settings,
  plugin,
  contradictions: ({ TRUST_PROXY }) =>
    problemsThatHold({
      'TRUST_PROXY must be true, false, a number of proxies, or a list of addresses and networks':
        !isTrust(TRUST_PROXY),
    }),
}

export default limits
