import { Redis, type SentinelConnectionOptions, SentinelConnector } from 'ioredis'
import { rotating } from '../../core/config/secrets.ts'
import { type Config, problemsThatHold, type Settings, text } from '../../core/config/settings.ts'
import { clientOptions, presentClient, presentUrl, reconnectDelay, type Topology } from '../client.ts'
import { areHosts, hosts } from '../hosts.ts'

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
    const url = presentUrl(config, listener)
    const password = rotating(config, 'REDIS_SENTINEL_PASSWORD', (value) => value, listener.log)
    const options = () => ({ ...clientOptions(config), ...sentinelOptions(config, url(), password()) })
    const redis = presentClient(() => new Redis(url(), options()))
    return { redis, ping: () => redis.ping() }
  },
}

export default sentinel

function sentinelOptions(config: Config, url: string, sentinelPassword: string | undefined) {
  return {
    sentinels: hosts(config.REDIS_SENTINELS as string, 26_379),
    name: config.REDIS_SENTINEL_NAME as string,
    sentinelPassword,
    ...(url.startsWith('rediss:') && { enableTLSForSentinelMode: true, sentinelTLS: {} }),
    sentinelCommandTimeout: config.REDIS_COMMAND_TIMEOUT_MS,
    sentinelRetryStrategy: reconnectDelay,
    // Leave a master that hangs as soon as Sentinel does, not when a command has waited for it.
    failoverDetector: true,
    Connector: QuietSentinelConnector,
  }
}

/** Unless somebody listens, ioredis prints the errors of the connections over which it hears of failovers. */
class QuietSentinelConnector extends SentinelConnector {
  constructor(options: unknown) {
    super(options as SentinelConnectionOptions)
    const connect = this['connectToSentinel'].bind(this)
    this['connectToSentinel'] = (...args: unknown[]) => connect(...args).on('error', () => {})
  }
}
