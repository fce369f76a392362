import { Type } from 'typebox'
import type { Settings } from '../core/config/settings.ts'
import type { Feature } from '../core/feature.ts'
import { service } from '../core/service.ts'
import plugin from './cache.ts'

const settings = {
  REDIS_KEY_PREFIX: Type.String({ default: `${service.name}:`, description: 'start of every key of the cache' }),
}

declare module '../core/config/settings.ts' {
  interface Config extends Settings<typeof settings> {}
}

/** A read-through cache over Redis that fails open. */
const cache: Feature = { name: 'cache', settings, plugin, metrics: () => import('./metrics.ts') }

export default cache
