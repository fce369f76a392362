/**
 * The optional features: what each of them is, and what goes when it is left out. `npm run init` follows it, and so can
 * you by hand. Features are left out in any combination, so what belongs to two of them is named by both. All that is
 * named here must be there: a text that matches nothing is an error, which keeps the list true.
 */

export interface Edit {
  file: string
  /** Each line that contains one of these goes. */
  lines?: string[]
  /** Each occurrence becomes `to`, or goes. */
  from?: string
  to?: string
}

export interface Part {
  /** Files and folders that go. */
  remove?: string[]
  edit?: Edit[]
  /** Of package.json. */
  packages?: string[]
  scripts?: string[]
}

export interface Feature extends Part {
  description: string
  /** What a service that is under way has to heed. */
  note?: string
  /** The feature without which it is of no use, and goes too. */
  needs?: string
}

export const features: Record<string, Feature> = {
  tenants: {
    description: 'rows of several tenants in one table, kept apart by row-level security',
    note: 'Where the migration is applied, keep its file, and drop the table with a migration of your own.',
    remove: [
      'src/tenants',
      'test/tenants',
      'docs/tenants.md',
      'migrations/20261101000002_tenants.ts',
      'migrations/20261126000000_tenants_own_row.ts',
      'seeds/20261101000000_tenants.ts',
      'bench/reads/by-tenant.ts',
      'bench/reads/by-tenant-once.ts',
    ],
    edit: [
      { file: 'src/app.ts', lines: ["import('./tenants/index.ts')"] },
      { file: 'docs/testing.md', lines: ['| `tenants/allowed.ts` |'] },
      // What kysely-codegen writes for a database without tables.
      {
        file: 'src/database/types.ts',
        from: `import type { ColumnType } from "kysely";

export type Generated<T> = T extends ColumnType<infer S, infer I, infer U>
  ? ColumnType<S, I | undefined, U>
  : ColumnType<T, T | undefined, T>;

export type Timestamp = ColumnType<Date, Date | string, Date | string>;

export interface Tenants {
  created_at: Generated<Timestamp>;
  id: Generated<string>;
  is_active: Generated<boolean>;
  name: string;
  slug: string;
  updated_at: Generated<Timestamp>;
}

export interface DB {
  tenants: Tenants;
}
`,
        to: 'export interface DB {}\n',
      },
    ],
  },
  transact: {
    description: 'transactions that are tried again when the database says so',
    remove: ['src/transact', 'test/transact', 'docs/transactions.md', 'bench/work/of-transactions.ts'],
  },
  cache: {
    description: 'a cache in Redis, which fails open',
    remove: ['src/cache', 'test/cache', 'bench/cache.ts', 'bench/reads/by-cache.ts', 'docs/cache.md'],
    edit: [
      { file: 'src/app.ts', lines: ["import('./cache/index.ts')"] },
      { file: 'bench/main.ts', lines: ["from './cache.ts'", "cache: 'A cache has", '  cache,'] },
    ],
  },
  metrics: {
    description: '/metrics for Prometheus, off unless switched on',
    note: '`observability` needs it, and goes too',
    remove: [
      'src/metrics',
      'src/core/metrics.ts',
      'src/database/metrics.ts',
      'src/migrations/metrics.ts',
      'src/cache/metrics.ts',
      'test/metrics',
      'test/cache/metrics.test.ts',
      'test/tracing/exemplars.test.ts',
      'test/support/metrics.ts',
      'docs/metrics.md',
      'deploy/kubernetes/components/service-monitor',
      'test/deploy/service-monitor.test.ts',
    ],
    edit: [
      { file: 'src/app.ts', lines: ["import('./metrics/index.ts')"] },
      { file: 'src/core/index.ts', lines: ["import('./metrics.ts')"] },
      { file: 'src/database/index.ts', lines: ["import('./metrics.ts')"] },
      { file: 'src/migrations/index.ts', lines: ["import('./metrics.ts')"] },
      { file: 'src/cache/index.ts', from: ", metrics: () => import('./metrics.ts')" },
      { file: 'docs/kubernetes.md', lines: ['| `components/service-monitor` |', '-metrics`, of the component |'] },
    ],
    packages: ['@prometheus-io/client', 'prom2javascript', '@kubernetes-models/prometheus-operator'],
  },
  observability: {
    description: 'a Grafana dashboard and alerts for Prometheus, and both in Compose',
    needs: 'metrics',
    remove: [
      'deploy/observability',
      'test/deploy/observability.test.ts',
      'test/deploy/prometheus-rule.test.ts',
      'test/support/prometheus.ts',
      'test/support/dashboard.ts',
      'docs/pictures',
    ],
    edit: [
      { file: 'compose.yaml', lines: ['deploy/observability/compose.yaml'] },
      {
        file: 'deploy/compose/compose.yaml',
        from: `  observed-service:
    <<: [*service, *published]
    profiles: [variants]
    environment:
      <<: [*environment, *owner]
      METRICS: 'true'
      OTEL_EXPORTER_OTLP_ENDPOINT: http://traces:4318
    depends_on:
      <<: *backends
      prometheus: { condition: service_healthy }
      grafana: { condition: service_healthy }
      traces: { condition: service_healthy }

`,
      },
      {
        file: 'deploy/compose/compose.yaml',
        lines: ['#   observed-service ', '# One name for all', 'aliases: [footing]'],
      },
      { file: 'dev/compose.ts', lines: ["'PUBLISH_GRAFANA_PORT'", "'PUBLISH_PROMETHEUS_PORT'"] },
      { file: 'docs/compose.md', lines: ['| `observed-service` |'] },
      { file: '.ci/run', from: ' prometheus' },
      { file: '.github/workflows/ci.yml', from: ' prometheus' },
      { file: '.github/workflows/ci.yml', lines: ['observed-service'] },
      { file: '.github/dependabot.yml', lines: ['- /deploy/observability'] },
    ],
  },
  tracing: {
    description: 'traces for an OpenTelemetry collector, off unless switched on',
    remove: [
      'src/tracing',
      'test/tracing',
      'test/support/otlp.ts',
      'docs/tracing.md',
      'bench/traces.ts',
      'bench/peers/bare-otel.mjs',
    ],
    edit: [
      { file: 'src/app.ts', lines: ["import('./tracing/index.ts')"] },
      { file: 'dev/build.ts', lines: ['OTEL_TRACES_EXPORTER'] },
      { file: 'bench/main.ts', lines: ["from './traces.ts'", "traces: 'Who switches", '  traces,'] },
      { file: 'deploy/compose/compose.yaml', lines: ['OTEL_EXPORTER_OTLP_ENDPOINT', 'traces: { condition:'] },
      { file: 'deploy/observability/compose.yaml', lines: ['exemplar-storage', '# A point of a histogram'] },
      {
        file: 'deploy/observability/compose.yaml',
        from: `  traces:
    <<: *common
    # In memory: it forgets with the container.
    image: jaegertracing/jaeger:2.21.0
    deploy: { resources: { limits: { cpus: '1', memory: 512M } } }
    healthcheck:
      <<: *health
      test: [CMD, wget, -q, -O, /dev/null, 'http://127.0.0.1:13133/status']

`,
      },
      { file: 'deploy/observability/grafana/datasources.yaml', lines: ['exemplarTraceIdDestinations', 'trace_id'] },
      {
        file: 'deploy/observability/grafana/datasources.yaml',
        from: `  - name: Traces
    uid: traces
    type: jaeger
    url: http://traces:16686
`,
      },
    ],
    packages: [
      '@fastify/otel',
      '@opentelemetry/api',
      '@opentelemetry/auto-instrumentations-node',
      '@opentelemetry/exporter-trace-otlp-http',
      '@opentelemetry/exporter-trace-otlp-proto',
      '@opentelemetry/instrumentation-ioredis',
      '@opentelemetry/instrumentation-pg',
      '@opentelemetry/instrumentation-undici',
      '@opentelemetry/resources',
      '@opentelemetry/sdk-node',
      '@opentelemetry/sdk-trace',
      'protobufjs',
    ],
  },
  openapi: {
    description: 'the description of the API at /docs, and a typed client made of it',
    remove: ['src/openapi', 'test/openapi', 'docs/openapi.md'],
    edit: [
      { file: 'src/app.ts', lines: ["import('./openapi/index.ts')"] },
      { file: 'dev/main.ts', lines: ["'API_DOCS'"] },
      { file: '.ci/run', from: 'chromium ' },
    ],
    packages: [
      '@fastify/swagger',
      '@fastify/swagger-ui',
      '@seriousme/openapi-schema-validator',
      'openapi-fetch',
      'openapi-typescript',
      'playwright-core',
    ],
  },
  hosts: {
    description: 'several database hosts, of which the one that takes writes is found',
    remove: ['src/database/hosts', 'test/database/hosts', 'docs/hosts.md'],
    edit: [{ file: 'src/database/parts.ts', lines: ["import('./hosts/index.ts')"] }],
  },
  sentinel: {
    description: 'Redis behind Sentinel, which names the master',
    remove: ['src/redis/sentinel', 'test/redis/sentinel', 'test/cache/sentinel.test.ts', 'docs/sentinel.md'],
    edit: [{ file: 'src/redis/parts.ts', lines: ["import('./sentinel/index.ts')"] }],
  },
  cluster: {
    description: 'Redis Cluster, keys spread over several masters',
    remove: ['src/redis/cluster', 'test/redis/cluster', 'test/cache/cluster.test.ts', 'docs/cluster.md'],
    edit: [{ file: 'src/redis/parts.ts', lines: ["import('./cluster/index.ts')"] }],
  },
  'time-series': {
    description: 'TimescaleDB, where the server has it',
    note: 'Where the migration is applied, keep its file.',
    remove: [
      'migrations/20261101000001_time_series.ts',
      'test/time-series/time-series.test.ts',
      'test/tenants/time-series.test.ts',
      'docs/time-series.md',
    ],
    edit: [
      {
        file: 'deploy/compose/compose.yaml',
        from: 'timescale/timescaledb:2.17.2-pg16',
        to: 'postgres:16-alpine',
      },
      { file: 'deploy/compose/database.sh', lines: ['timescaledb', 'takes a superuser'] },
    ],
  },
  kubernetes: {
    description: 'manifests for Kubernetes, with a job or the boot as the one that migrates',
    remove: [
      'deploy/kubernetes',
      'test/deploy/kubernetes.test.ts',
      'test/deploy/service-monitor.test.ts',
      'test/deploy/prometheus-rule.test.ts',
      'test/deploy/manifests.ts',
      'docs/kubernetes.md',
    ],
    packages: ['kubernetes-models', '@kubernetes-models/prometheus-operator'],
  },
  compose: {
    description: 'Docker Compose: the service with its backends, in variants',
    remove: [
      'compose.yaml',
      'deploy/compose',
      'deploy/observability/compose.yaml',
      'deploy/observability/prometheus.yml',
      'deploy/observability/grafana',
      'dev/compose.ts',
      'test/deploy/compose.test.ts',
      'docs/compose.md',
    ],
    edit: [
      { file: 'dev/docs.ts', lines: ["from './compose.ts'", 'composeSettings('] },
      { file: 'dev/docs.ts', from: ' + composeExample()' },
      { file: 'docs/troubleshooting.md', lines: ['from `docker compose up`'] },
      {
        file: '.github/workflows/ci.yml',
        from: `      - name: each variant of Compose starts, on a checkout with the settings of Git for Windows
        run: |
          git clone -q -c core.autocrlf=true . "$RUNNER_TEMP/clone" && cd "$RUNNER_TEMP/clone"
          for service in service pooled-service balancer migrated-service; do
            METRICS=true docker compose up --build --wait --wait-timeout 120 $service
            curl --fail http://localhost:3000/health
            docker compose --profile variants down --volumes
          done
          docker compose up --wait --wait-timeout 300 observed-service && docker compose --profile variants down --volumes
`,
      },
      {
        file: '.github/dependabot.yml',
        from: `  - package-ecosystem: docker-compose
    directories:
      - /deploy/compose
      - /deploy/observability
    schedule:
      interval: weekly
    cooldown:
      default-days: 7
`,
      },
    ],
  },
  bench: {
    description: 'the bench: the service beside others, its costs, its behaviour in outages',
    remove: ['bench', 'docs/bench.md'],
    edit: [{ file: 'tsconfig.json', from: '"bench/*.ts", ' }],
    scripts: ['bench', 'bench:faults', 'soak', 'soak:requests'],
  },
  faults: {
    description: 'the fault suite: tests that stop, freeze and cut off the backends',
    remove: [
      'test/faults',
      'test/support/names.ts',
      'test/fixtures/authority.crt',
      'test/fixtures/client.crt',
      'test/fixtures/client.key',
      'test/fixtures/database.crt',
      'test/fixtures/database.key',
    ],
    edit: [{ file: 'docs/testing.md', lines: ['| `faults/` |'] }],
  },
}

/** What several features share, and goes when all of them are left out. */
export const together: (Part & { without: string[] })[] = [
  { without: ['sentinel', 'cluster'], remove: ['src/redis/hosts.ts'] },
  { without: ['time-series', 'compose'], remove: ['test/time-series/timescaledb.ts'] },
  { without: ['kubernetes', 'compose'], packages: ['yaml'] },
  { without: ['faults', 'bench'], remove: ['test/support/client.ts'] },
  { without: ['faults', 'hosts'], remove: ['test/fixtures/self-signed.crt', 'test/fixtures/self-signed.key'] },
]

/** What belongs to the skeleton alone, and is gone from every service. */
export const skeleton: Part = {
  remove: [
    'skeleton',
    'CHANGELOG.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
    'docs/init.md',
    'test/migrations/from-1.0.0.test.ts',
    'test/migrations/fixtures',
  ],
  edit: [
    { file: 'tsconfig.json', from: '"skeleton", ' },
    // The skeleton demands all; a service chooses, and begins with what every choice of features reaches.
    { file: 'package.json', from: '"coverage": 100,', to: '"coverage": 90,' },
    { file: 'docs/testing.md', from: ' `npm run init -- --no-faults` leaves it out.' },
    { file: 'docs/tutorial.md', from: ' `npm run check:grown` executes it as it stands.' },
    { file: '.ci/run', lines: ['npm run check:skeleton', 'npm run check:grown', 'npm test -- skeleton/test'] },
    { file: '.ci/run', from: ', the services that init\n# makes and a service that has grown' },
    {
      file: 'docs/features.md',
      from: '`npm run init` does this for a new service. In a service that is under way, delete',
      to: 'Delete',
    },
    { file: 'Dockerfile', lines: ['org.opencontainers.image.licenses'] },
    { file: 'dev/docs.ts', lines: ['manifest.license'] },
  ],
  packages: ['@clack/prompts'],
  scripts: ['init', 'check:skeleton', 'check:grown'],
}
