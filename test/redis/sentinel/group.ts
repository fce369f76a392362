import type { Test } from 'tap'
import { startRedis } from '../../../dev/redis.ts'
import type { Server } from '../../../dev/server.ts'
import { until } from '../../support/helper.ts'
import { command } from '../../support/redis-command.ts'

const PASSWORD = 'hunter2'
const SENTINEL_PASSWORD = 'hunter3'
/** A master that says nothing for this long is given up. */
const DOWN_AFTER_MS = 500
/**
 * Sentinels that have not agreed on one of them vote again after twice this long, which is three minutes by default. One
 * that is elected gives up when it has not seen the new master for as long, which it asks once a second.
 */
const FAILOVER_TIMEOUT_MS = 5_000

export interface Group {
  master: Server
  replica: Server
  sentinels: Server[]
  variables: NodeJS.ProcessEnv
}

/** A master, a replica in step with it, and three sentinels that know of each other. */
export async function group(t: Test): Promise<Group> {
  const settings = { masterauth: PASSWORD, 'repl-diskless-sync-delay': '0', 'repl-ping-replica-period': '1' }
  const redis = () => startRedis({ password: PASSWORD, settings })
  const sentinel = () =>
    startRedis({
      password: SENTINEL_PASSWORD,
      flags: ['--sentinel'],
      settings: { 'sentinel sentinel-pass': SENTINEL_PASSWORD },
    })
  const servers = await Promise.all([redis(), redis(), sentinel(), sentinel(), sentinel()])
  const [master, replica, ...sentinels] = servers
  t.teardown(() => Promise.all(servers.map((server) => server.close())))
  await command(replica, 'REPLICAOF', '127.0.0.1', master.port)
  await until(
    () => command(replica, 'INFO', 'replication'),
    (info) => String(info).includes('master_link_status:up'),
  )
  for (const sentinel of sentinels) {
    await command(sentinel, 'SENTINEL', 'MONITOR', 'main', '127.0.0.1', master.port, 2)
    await command(sentinel, 'SENTINEL', 'SET', 'main', 'auth-pass', PASSWORD)
    await command(sentinel, 'SENTINEL', 'SET', 'main', 'down-after-milliseconds', DOWN_AFTER_MS)
    await command(sentinel, 'SENTINEL', 'SET', 'main', 'failover-timeout', FAILOVER_TIMEOUT_MS)
  }
  for (const sentinel of sentinels) {
    await until(
      () => command(sentinel, 'SENTINEL', 'MASTER', 'main') as Promise<string[]>,
      (fields) =>
        fields[fields.indexOf('num-other-sentinels') + 1] === '2' && fields[fields.indexOf('num-slaves') + 1] === '1',
    )
  }
  const variables = {
    REDIS_URL: `redis://:${PASSWORD}@by-sentinel`,
    REDIS_SENTINELS: sentinels.map(({ port }) => `127.0.0.1:${port}`).join(','),
    REDIS_SENTINEL_NAME: 'main',
    REDIS_SENTINEL_PASSWORD: SENTINEL_PASSWORD,
  }
  return { master, replica, sentinels, variables }
}
