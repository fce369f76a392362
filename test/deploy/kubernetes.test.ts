import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import path from 'node:path'
import t, { type Test } from 'tap'
import { configure, SETTINGS } from '../support/app.ts'
import { event, ROOT, sharedDatabase } from '../support/helper.ts'
import { Service } from '../support/process.ts'
import { PROBE_LIMIT_MS, Prober } from '../support/tools.ts'
import { type Manifest, page, read, render, renderTeams, skip, validate } from './manifests.ts'

const FILES = [
  'base/deployment.yaml',
  'base/horizontal-pod-autoscaler.yaml',
  'base/network-policy.yaml',
  'base/pod-disruption-budget.yaml',
  'base/service-account.yaml',
  'base/service.yaml',
  'overlays/migrate-by-job/job.yaml',
  'secret.example.yaml',
]
const OVERLAYS = ['migrate-at-boot', 'migrate-by-job']

const containersOf = (manifests: Manifest[]) => manifests.flatMap(({ spec }) => spec?.template?.spec.containers ?? [])

t.test(`the manifests ${skip ? '' : 'and the overlays, rendered, '}are what the Kubernetes API takes`, async (t) => {
  const rendered = skip ? [] : await Promise.all([...OVERLAYS.map((name) => render(name)), renderTeams(t)])
  await validate(t, [...FILES.flatMap(read), ...rendered.flat()])
})

t.test("a team's overlay names the image by the service's name", { skip }, async (t) => {
  const [, name] = /newName: ([^,]+)/.exec(page) as string[]
  for (const overlay of OVERLAYS) {
    const manifests = await renderTeams(t, (text) => text.replace('../migrate-by-job', `../${overlay}`))
    for (const { image } of containersOf(manifests)) t.match(image, new RegExp(`^${name}:\\w+$`), overlay)
    const untagged = await renderTeams(t, (text) => text.replace(/, newTag: \w+/, ''))
    for (const { image } of containersOf(untagged)) t.match(image, new RegExp(`^${name}:\\d`), 'the version is kept')
  }
})

t.test("a team's overlay names the secret of its registry for every pod", { skip }, async (t) => {
  const [patch] = / {2}- target:.*\n.*\n.*imagePullSecrets.*\n/.exec(page) as string[]
  const pods = (await renderTeams(t, (text) => text + patch)).flatMap(({ spec }) => spec?.template?.spec ?? [])
  t.match(pods, [{ imagePullSecrets: [{ name: 'registry' }] }, { imagePullSecrets: [{ name: 'registry' }] }])
})

t.test("in a team's overlay nobody asks, and nothing is asked, but what it names", { skip }, async (t) => {
  const policies = (await renderTeams(t)).filter(({ kind }) => kind === 'NetworkPolicy')
  const rules = policies.flatMap(({ spec: { ingress = [], egress = [] } }) => [...ingress, ...egress])
  const open = rules.filter(({ from, to }) => !from && !to)
  t.same(
    open.map(({ ports }) => ports.map(({ port }: Manifest) => port)),
    [[53, 53]],
    'the name server alone',
  )
  const clients = policies.filter(({ spec: { ingress = [] } }) => ingress.length > 0)
  t.match(clients, [{ spec: { ingress: [{ from: [{ namespaceSelector: {} }], ports: [{ port: 'http' }] }] } }])
})

t.test(
  'on OpenShift no id is fixed, secrets are readable for the group, and port 5353 is open',
  { skip },
  async (t) => {
    const components = '\ncomponents: [../../components/openshift]\n'
    for (const overlay of OVERLAYS) {
      const all = await renderTeams(t, (text) => text.replace('../migrate-by-job', `../${overlay}`) + components)
      const pods = all.flatMap(({ spec }) => spec?.template?.spec ?? [])
      t.equal(pods.length, overlay === 'migrate-by-job' ? 2 : 1)
      for (const { securityContext, volumes, containers } of pods) {
        t.same(Object.keys(securityContext), ['runAsNonRoot', 'seccompProfile'])
        for (const { securityContext: own } of containers) t.notOk(own.runAsUser)
        for (const { secret } of volumes) t.equal(secret.defaultMode & 0o040, 0o040)
      }
      const ports = all.flatMap(({ kind, spec }) => (kind === 'NetworkPolicy' ? (spec.egress ?? []) : []))
      t.match(ports[0].ports, [
        { port: 53 },
        { port: 53 },
        { port: 5353, protocol: 'UDP' },
        { port: 5353, protocol: 'TCP' },
      ])
    }
  },
)

t.test(
  'the job that migrates is made anew by each tool, ends behind a mesh, and the pods that serve come after',
  (t) => {
    const [job] = read('overlays/migrate-by-job/job.yaml')
    t.match(job.metadata.annotations, {
      'argocd.argoproj.io/hook': 'Sync',
      'argocd.argoproj.io/hook-delete-policy': 'BeforeHookCreation',
      'helm.sh/hook': 'pre-install,pre-upgrade',
      'helm.sh/hook-delete-policy': 'before-hook-creation',
      'kustomize.toolkit.fluxcd.io/force': 'enabled',
    })
    t.notHas(job.spec, { ttlSecondsAfterFinished: Number }, 'what is gone would be drift')
    t.match(job.spec.template.metadata, {
      labels: { 'sidecar.istio.io/inject': 'false' },
      annotations: { 'linkerd.io/inject': 'disabled' },
    })
    t.notOk(job.spec.template.spec.serviceAccountName, 'which Helm has not made yet')
    for (const { metadata } of read('overlays/migrate-by-job/after-job.yaml')) {
      t.ok(Number(metadata.annotations['argocd.argoproj.io/sync-wave']) > 0, metadata.name)
    }
    t.end()
  },
)

for (const overlay of OVERLAYS) {
  t.test(`what the overlay ${overlay} sets, the service knows`, { skip }, async (t) => {
    const manifests = await render(overlay)
    const containers = containersOf(manifests)
    const variables = [
      ...containers.flatMap(({ env }) => env.map(({ name }: Manifest) => name)),
      ...manifests.flatMap(({ kind, data }) => (kind === 'ConfigMap' ? Object.keys(data) : [])),
    ]
    for (const name of variables)
      t.ok(name in SETTINGS || name === 'NODE_OPTIONS', `${name} is a setting of the service, or of Node`)

    const secrets = read('secret.example.yaml')
    for (const { env } of containers) {
      const { value: options } = env.find(({ name }: Manifest) => name === 'NODE_OPTIONS')
      t.match(
        options,
        '--max-old-space-size-percentage=',
        "a value of its own, to which OpenTelemetry's operator appends",
      )
      for (const { name: variable, value } of env) {
        if (!variable.endsWith('_FILE')) continue
        const [, name, key] = /^\/run\/secrets\/([^/]+)\/(.+)$/.exec(value) as string[]
        t.ok(
          secrets.find(({ metadata }) => metadata.name === name)?.stringData[key as string],
          `${value} is in a secret`,
        )
      }
    }
  })
}

const [deployment] = read('base/deployment.yaml')
const { spec: pod } = deployment.spec.template
const [container] = pod.containers
const probes = {
  startup: container.startupProbe,
  liveness: container.livenessProbe,
  readiness: container.readinessProbe,
}

/** As the kubelet does. */
async function prober(t: Test, running: Service, { httpGet, timeoutSeconds }: Manifest): Promise<Prober> {
  t.equal(timeoutSeconds * 1000, PROBE_LIMIT_MS)
  return new Prober(t, `${await running.url()}${httpGet.path}`)
}

t.test('the probes pass while the service serves, with the settings of the manifests', async (t) => {
  const [{ configMapGenerator }] = read('base/kustomization.yaml')
  const literals = configMapGenerator[0].literals.map((literal: string) => literal.split(/=(.*)/s, 2))
  const running = new Service(t, { DATABASE_URL: await sharedDatabase(), ...Object.fromEntries(literals) })
  await running.logged('ready')
  for (const probe of Object.values(probes)) await (await prober(t, running, probe)).next(200)
})

t.test('a database that hangs fails readiness within the timeout of the probe, and liveness not', async (t) => {
  const sockets = new Set<Socket>()
  const silent = createServer((socket) => sockets.add(socket)).listen(0, '127.0.0.1')
  await event(silent, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    silent.close()
  })
  const { port } = silent.address() as AddressInfo
  const running = new Service(t, { DATABASE_URL: `postgres://127.0.0.1:${port}/app` })
  const live = await prober(t, running, probes.liveness)
  await live.next(200)
  for (const probe of [probes.readiness, probes.startup]) {
    const asked = await prober(t, running, probe)
    await asked.next(503)
    asked.inTime(t, live)
  }
  t.equal(live.count(200), live.answers.length)
})

t.test('the numbers agree with those of the service', async (t) => {
  const delaySeconds = 5 // SHUTDOWN_DELAY_MS in production
  const { SHUTDOWN_TIMEOUT_MS } = await configure(t, { DATABASE_URL: 'postgres://localhost/app' })
  t.ok(pod.terminationGracePeriodSeconds > delaySeconds + SHUTDOWN_TIMEOUT_MS / 1000)
  const { periodSeconds, failureThreshold } = probes.readiness
  t.ok(periodSeconds * failureThreshold < delaySeconds)

  const startSeconds = probes.startup.periodSeconds * probes.startup.failureThreshold
  t.ok(deployment.spec.progressDeadlineSeconds > startSeconds, 'a pod that may still start is no failed rollout')
  const [afterJob] = read('overlays/migrate-by-job/after-job.yaml')
  const [job] = read('overlays/migrate-by-job/job.yaml')
  const backoffSeconds = 300 // the kubelet's longest, for a pod that exits
  t.ok(afterJob.spec.progressDeadlineSeconds > job.spec.activeDeadlineSeconds + backoffSeconds)

  const [{ name, containerPort }] = container.ports
  for (const { httpGet } of Object.values(probes)) t.equal(httpGet.port, name)
  const image = readFileSync(path.join(ROOT, 'Dockerfile'), 'utf8')
  t.match(image, `PORT=${containerPort} `)
  t.match(image, `USER ${pod.securityContext.runAsUser}:${pod.securityContext.runAsGroup}`)
})
