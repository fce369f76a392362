import { service } from '../src/core/service.ts'

/** What compose.yaml takes from the environment beside settings of the service: name, default, description. */
export const composeVariables = [
  ['PUBLISH_SERVICE_PORT', '3000', "the service's port on this machine"],
  ['PUBLISH_DATABASE_PORT', '5432', "the database's port on this machine"],
  ['PUBLISH_REDIS_PORT', '6379', "Redis' port on this machine"],
  ['PUBLISH_GRAFANA_PORT', '3030', "Grafana's port on this machine"],
  ['PUBLISH_PROMETHEUS_PORT', '9090', "Prometheus' port on this machine"],
  ['POSTGRES_SUPERUSER_PASSWORD', 'development', 'password of the role postgres, which makes the others'],
  [
    'POSTGRES_OWNER_PASSWORD',
    'development',
    `password of ${service.name}_owner, which owns the schema and migrates it`,
  ],
  ['POSTGRES_SERVICE_PASSWORD', 'development', `password of ${service.name}, which serves and owns nothing`],
  ['REDIS_PASSWORD', 'development', 'password of Redis'],
] as const

/** What the Compose file decides itself: a setting of `npm run dev` in .env, such as a local DATABASE_URL, must not count. */
const DECIDED =
  /^(NODE_ENV|HOST|PORT|(DATABASE|DATABASE_MIGRATION|REDIS)_URL|POSTGRES_\w+|REDIS_(SENTINEL|CLUSTER)\w+)(_FILE)?$/

/** deploy/compose/settings.env: the settings that the services take from the shell or .env, names without a value. */
export function composeSettings(settings: string[]): string {
  const head =
    '# What the shell or .env may set for the services in Compose (npm run docs writes this file). The rest of the\n' +
    '# settings, where it listens and where its backends are, stands in compose.yaml.\n'
  return `${head}${settings.filter((name) => !DECIDED.test(name)).join('\n')}\n`
}

/** For .env.example, and in force as they stand: Compose reads its defaults from that file. */
export function composeExample(): string {
  const head =
    '\n# For compose.yaml alone, with the defaults of development. A password is letters, digits, - and _, since it\n' +
    '# becomes part of a URL. The first start of the database sets those of its roles.\n'
  const lines = composeVariables.map(([name, fallback, description]) => `\n# ${description}\n${name}=${fallback}\n`)
  return head + lines.join('')
}
