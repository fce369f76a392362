import { flag, type Settings } from '../core/config/settings.ts'
import type { Feature } from '../core/feature.ts'
import plugin from './openapi.ts'

const settings = { API_DOCS: flag('serve /openapi.json, and /docs where @fastify/swagger-ui is installed') }

declare module '../core/config/settings.ts' {
  interface Config extends Settings<typeof settings> {}
}

/** The description of the API, for other services and for people. */
const openapi: Feature = { name: 'openapi', settings, plugin }

export default openapi
