import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { Validator } from '@seriousme/openapi-schema-validator'
import type { FastifyPluginAsync, LightMyRequestResponse } from 'fastify'
import { chromium } from 'playwright-core'
import t, { type Test } from 'tap'
import { Type } from 'typebox'
import { Check } from 'typebox/schema'
import manifest from '../../package.json' with { type: 'json' }
import { DateTime, Nullable } from '../../src/core/schemas.ts'
import { type App, build, unstarted } from '../support/app.ts'
import { ROOT, sharedDatabase } from '../support/helper.ts'
import { preload, Service } from '../support/process.ts'

type Response = {
  description: string
  headers?: Record<string, { schema: object; description: string }>
  content: Record<string, { schema: object }>
}
type Document = {
  openapi: string
  info: { title: string; version: string }
  paths: Record<string, Record<string, { operationId?: string; responses: Record<string, Response> }>>
}

const ON = { API_DOCS: 'true' }

/** As a template's user writes them: with a schema, and without one. */
const routes: FastifyPluginAsync = async (fastify) => {
  const answer = Type.Object({ doubled: Type.Integer() })
  fastify.get<{ Querystring: { number: number } }>(
    '/double',
    { schema: { querystring: Type.Object({ number: Type.Integer() }), response: { 200: answer } } },
    async ({ query }) => ({ doubled: query.number * 2 }),
  )
  fastify.post('/plain', async () => ({ any: 'thing' }))
  fastify.get('/broken', async () => {
    throw new Error('a bug')
  })
}

async function documentOf(t: Test, app: App): Promise<Document> {
  const answer = await app.inject('/openapi.json')
  t.equal(answer.statusCode, 200)
  t.equal(answer.headers['cache-control'], 'no-store')
  return answer.json()
}

/** Whether the document says of this answer what it is: status, content type, headers and body. */
function asDescribed(t: Test, { paths }: Document, method: string, url: string, answer: LightMyRequestResponse): void {
  const { statusCode, headers } = answer
  const title = `${method} ${url} ${statusCode}`
  const { responses = {} } = paths[url]?.[method] ?? {}
  const response = responses[statusCode] ?? responses[`${Math.floor(statusCode / 100)}XX`] ?? responses['default']
  const { schema } = response?.content[String(headers['content-type']).split(';')[0] as string] ?? {}
  t.ok(schema && Check(schema, answer.json()), `${title}: body`, { schema, body: answer.body })
  for (const name of ['cache-control', 'retry-after']) {
    const header = response?.headers?.[name]
    t.equal(header !== undefined, name in headers, `${title}: ${name}`)
    const value = Number.isNaN(Number(headers[name])) ? headers[name] : Number(headers[name])
    if (header) t.ok(Check(header.schema, value), `${title}: ${name} is ${value}`)
  }
}

function loaded(): boolean {
  return Object.keys(createRequire(import.meta.url).cache).some((file) => file.includes('/@fastify/swagger/'))
}

t.test('unless asked for it is not there, and its library is not loaded', async (t) => {
  const app = await build(t)
  t.equal((await app.inject('/openapi.json')).statusCode, 404)
  t.equal((await app.inject('/docs')).statusCode, 404)
  t.notOk(loaded())
  await build(t, ON)
  t.ok(loaded(), 'and is loaded when asked for')
})

t.test('the document is valid OpenAPI 3.1, and names each operation once', async (t) => {
  const document = await documentOf(t, await build(t, ON, routes))
  const { valid, errors } = await new Validator().validate(structuredClone(document))
  t.ok(valid, 'valid', { errors })
  t.match(document.openapi, /^3\.1\./)
  t.same(document.info, { title: manifest.name, version: manifest.version })

  const operations = Object.entries(document.paths).flatMap(([url, methods]) =>
    Object.entries(methods).map(([method, { operationId }]) => [`${method} ${url}`, operationId] as const),
  )
  const names: string[] = operations.map(([name]) => name)
  for (const name of [
    'get /broken',
    'get /double',
    'get /health',
    'get /health/db',
    'get /health/live',
    'get /health/ready',
    'post /plain',
  ])
    t.ok(names.includes(name), name)
  for (const [url, methods] of Object.entries(document.paths)) {
    for (const { responses } of Object.values(methods)) {
      if (url.startsWith('/health')) t.notMatch(JSON.stringify(responses), /Default Response/, `${url}: its own words`)
      else t.match(responses, { 503: {}, default: {} }, `${url}: the errors of every route`)
    }
  }
  const ids = operations.map(([, id]) => id).filter(Boolean)
  t.equal(new Set(ids).size, ids.length)
})

t.test('HEALTH_DETAILS=false: the document names no route that is not there', async (t) => {
  const { paths } = await documentOf(t, await build(t, { ...ON, HEALTH_DETAILS: 'false' }))
  t.ok(paths['/health'])
  t.notOk(paths['/health/db'])
})

t.test('every answer is as the document says: status, content type, headers, body', async (t) => {
  const health = ['/health/live', '/health/ready', '/health', '/health/db']
  const DATABASE_URL = await sharedDatabase()

  const starting = await unstarted(t, { ...ON, DATABASE_URL, MIGRATIONS: 'off' }, { routes })
  const document = await documentOf(t, starting)
  for (const url of health) asDescribed(t, document, 'get', url, await starting.inject(url))
  const shut = await starting.inject('/double?number=21')
  t.equal(shut.statusCode, 503)
  asDescribed(t, document, 'get', '/double', shut)

  const app = await build(t, { ...ON, DATABASE_URL }, routes)
  t.same(await documentOf(t, app), document, 'the same before the start tasks as after')
  for (const url of health) {
    const answer = await app.inject(url)
    t.equal(answer.statusCode, 200)
    asDescribed(t, document, 'get', url, answer)
  }
  asDescribed(t, document, 'get', '/double', await app.inject('/double?number=21'))
  const wrong = await app.inject('/double?number=none')
  t.equal(wrong.statusCode, 400)
  asDescribed(t, document, 'get', '/double', wrong)
  asDescribed(t, document, 'post', '/plain', await app.inject({ method: 'POST', url: '/plain' }))
  const broken = await app.inject('/broken')
  t.equal(broken.statusCode, 500)
  asDescribed(t, document, 'get', '/broken', broken)

  app.health.add({ name: 'payments', required: true, check: () => Promise.reject(new Error('down')) })
  for (const url of ['/health/ready', '/health']) {
    const answer = await app.inject(url)
    t.equal(answer.statusCode, 503)
    asDescribed(t, document, 'get', url, answer)
  }

  const off = await build(t, { ...ON, DATABASE_URL, HEALTH_DETAILS: 'false' })
  asDescribed(t, document, 'get', '/health/db', await off.inject('/health/db'))
})

t.test('the build serves it, and loads it only then', async (t) => {
  const service = new Service(t, { ...ON, DATABASE_URL: await sharedDatabase() })
  t.equal((await fetch(`${await service.url()}/openapi.json`)).status, 200)
})

t.test('the page for people answers while the service starts, as the document does', async (t) => {
  const app = await unstarted(t, ON)
  for (const url of ['/docs', '/docs/json', '/docs/static/swagger-ui.css']) {
    t.equal((await app.inject(url)).statusCode, 200, url)
    t.equal((await app.inject({ method: 'HEAD', url })).statusCode, 200, `HEAD ${url}`)
  }
})

t.test('without dev dependencies, as in the image, the document is there and the page is not', async (t) => {
  const hook = `import { registerHooks } from 'node:module'
    registerHooks({ resolve: (name, context, next) => next(name === '@fastify/swagger-ui' ? './none' : name, context) })`
  const service = new Service(
    t,
    { ...ON, NODE_OPTIONS: preload(hook), DATABASE_URL: await sharedDatabase() },
    { source: ROOT },
  )
  const url = await service.url()
  await service.logged('ready')
  await service.logged('no /docs')
  t.equal((await fetch(`${url}/openapi.json`)).status, 200)
  t.equal((await fetch(`${url}/docs`)).status, 404)
  service.child.kill('SIGTERM')
  t.equal(await service.exited, 0)
})

const executablePath = ['chromium', 'chromium-browser', 'google-chrome']
  .flatMap((name) => (process.env['PATH'] ?? '').split(path.delimiter).map((folder) => path.join(folder, name)))
  .find((file) => existsSync(file))
const skip = executablePath ? false : 'chromium is not installed'

t.test('the page opens in a browser without an error, and asks no other host', { skip }, async (t) => {
  const app = await build(t, ON, routes)
  const origin = await app.listen({ host: '127.0.0.1', port: 0 })
  const browser = await chromium.launch({
    executablePath: executablePath as string,
    args: ['--disable-gpu', '--disable-quic', '--disable-component-update', '--disable-sync'],
  })
  t.teardown(() => browser.close())
  const page = await browser.newPage()
  const problems: string[] = []
  const hosts = new Set<string>()
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') problems.push(message.text())
  })
  page.on('pageerror', ({ message }) => problems.push(message))
  page.on('requestfailed', (request) => problems.push(request.url()))
  page.on('response', (response) => {
    if (!response.ok()) problems.push(`${response.status()} ${response.url()}`)
  })
  page.on('request', (request) => {
    const url = new URL(request.url())
    if (url.protocol !== 'data:') hosts.add(url.origin)
  })

  await page.goto(`${origin}/docs`, { waitUntil: 'networkidle' })
  const operations = page.locator('.opblock-summary-path')
  await operations.first().waitFor()
  const shown = (await operations.allInnerTexts()).map((text) => text.replaceAll('\u200b', ''))
  for (const route of ['/broken', '/double', '/health', '/health/db', '/health/live', '/health/ready', '/plain'])
    t.ok(shown.includes(route), route)

  // What a person does there: opens an operation, and sends its request.
  const liveness = page.locator('#operations-health-getLiveness')
  await liveness.locator('.opblock-summary').click()
  await liveness.getByRole('button', { name: 'Try it out' }).click()
  await liveness.getByRole('button', { name: 'Execute' }).click()
  const answer = liveness.locator('.live-responses-table')
  await answer.waitFor()
  t.match(await answer.innerText(), /200[\s\S]*"status": "ok"/)

  t.same(problems, [])
  t.same([...hosts], [origin])
})

t.test('an instant is a string with the format date-time, also where it may be null', async (t) => {
  const app = await build(t, ON, async (fastify) => {
    const answer = Type.Object({ at: DateTime, maybe: Nullable(DateTime) })
    fastify.get('/instants', { schema: { response: { 200: answer } } }, async () => ({ at: new Date(0), maybe: null }))
  })
  const document = await documentOf(t, app)
  t.match(document.paths['/instants']?.['get']?.responses['200']?.content['application/json']?.schema, {
    properties: {
      at: { type: 'string', format: 'date-time' },
      maybe: { type: ['string', 'null'], format: 'date-time' },
    },
  })
  asDescribed(t, document, 'get', '/instants', await app.inject('/instants'))
})
