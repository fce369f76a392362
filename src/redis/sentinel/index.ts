import { Redis, type SentinelConnectionOptions, SentinelConnector } from 'ioredis'
import { rotating } from '../../core/config/secrets.ts'
import { type Config, problemsThatHold, type Settings, text } from '../../core/config/settings.ts'
import { clientOptions, type Options, presentAccess, type Topology } from '../client.ts'
import { areHosts, hosts } from '../hosts.ts'
import { presentClient, reconnectDelay } from '../present.ts'
import { serves } from '../serves.ts'
import type { Access } from '../url.ts'

const settings = {
  REDIS_SENTINELS: text(
    'host:26379,host:26379 of Redis Sentinel; user, password, database and TLS (also to Sentinel) come from REDIS_URL',
  ),
  REDIS_SENTINEL_NAME: text('name of the master that Sentinel watches'),
  REDIS_SENTINEL_PASSWORD: text('password of Sentinel itself, where it has one'),
  REDIS_SENTINEL_PASSWORD_FILE: text('file that holds REDIS_SENTINEL_PASSWORD, read again for each new connection'),
}

declare module '../../core/config/settings.ts' {
  interface Config extends Settings<typeof settings> {}
}

/** The master that Redis Sentinel names, whichever it is by now. */
const sentinel: Topology = {
  name: 'sentinel',
  setting: 'REDIS_SENTINELS',
  settings,
  secrets: ['REDIS_SENTINEL_PASSWORD'],

  problems({ REDIS_SENTINELS: sentinels, REDIS_SENTINEL_NAME: name }) {
    return problemsThatHold({
      'REDIS_SENTINELS is not a list of host:port': sentinels && !areHosts(sentinels),
      'REDIS_SENTINELS and REDIS_SENTINEL_NAME go together': !sentinels !== !name,
    })
  },

  reasons: { messages: [['unreachable', /^All sentinels are unreachable/]] },

  client(config, listener) {
    if (config.REDIS_SENTINELS === undefined) return undefined
    const sentinels = hosts(config.REDIS_SENTINELS, 26_379)
    const access = presentAccess(config, listener)
    const password = rotating(config, 'REDIS_SENTINEL_PASSWORD', (value) => value, listener.log)
    const options = (access: Access) => ({
      ...clientOptions(config),
      ...access,
      // Another one first each time: one that is cut off from the others names a master of before.
      sentinels: sentinels.map((_, n) => sentinels[(n + turn) % sentinels.length]),
      sentinelPassword: password(),
      ...sentinelOptions(config, access),
    })
    let turn = 0
    const redis = presentClient(() => {
      const made = new Redis(options(access()) as Options)
      turn += 1
      return made
    })
    return { redis, hosts: sentinels.map(({ host }) => host), ping: () => serves(redis) }
  },
}

export default sentinel

function sentinelOptions(config: Config, { tls }: Access) {
  return {
    name: config.REDIS_SENTINEL_NAME as string,
    ...(tls && { enableTLSForSentinelMode: true, sentinelTLS: tls }),
    sentinelCommandTimeout: config.REDIS_COMMAND_TIMEOUT_MS,
    sentinelRetryStrategy: reconnectDelay,
    // Leave a master that hangs as soon as Sentinel does, not when a command has waited for it.
    failoverDetector: true,
    Connector: OwnSentinelConnector,
  }
}

class OwnSentinelConnector extends SentinelConnector {
  constructor(options: unknown) {
    super(options as SentinelConnectionOptions)
    // ioredis prints the errors of the connections over which it hears of failovers, because it does not listen to them
    // (ioredis issue 1600). This can go when it does.
    const connect = this['connectToSentinel'].bind(this)
    this['connectToSentinel'] = (...args: unknown[]) => connect(...args).on('error', () => {})
  }

  /** Asks another sentinel next, as ioredis does for a master that is none. */
  override disconnect(): void {
    this.check({ role: 'another' })
    super.disconnect()
  }
}
