/** bare.mjs with @fastify/otel and OpenTelemetry's SDK for Node.js, as their READMEs show them. */
import FastifyOtelInstrumentation from '@fastify/otel'
import { NodeSDK } from '@opentelemetry/sdk-node'

const sdk = new NodeSDK({ instrumentations: [new FastifyOtelInstrumentation({ registerOnInitialization: true })] })
sdk.start()
const { default: Fastify } = await import('fastify')

const fastify = Fastify()
fastify.get('/health', async () => ({ status: 'ok' }))
process.once('SIGTERM', () => fastify.close().then(() => sdk.shutdown()))
await fastify.listen({ port: Number(process.env.PORT), host: '127.0.0.1' })
