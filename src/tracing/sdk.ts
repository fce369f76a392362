import { setTimeout as sleep } from 'node:timers/promises'
import { context, diag, propagation, trace } from '@opentelemetry/api'
import {
  defaultResource,
  envDetector,
  hostDetector,
  resourceFromAttributes,
  serviceInstanceIdDetector,
} from '@opentelemetry/resources'
import { NodeSDK } from '@opentelemetry/sdk-node'
import type { FastifyInstance } from 'fastify'
import { service } from '../core/service.ts'
import { watchSteps } from '../core/steps.ts'
import { tellOfSdk } from './diagnostics.ts'
import { createExporter } from './exporter.ts'
import { instrument } from './instrumentations.ts'

/** The share of SHUTDOWN_TIMEOUT_MS in which what is left is sent, and of what remains of it. */
const FLUSH_SHARE = 1 / 4
const REMAINING_SHARE = 1 / 2

/** Starts the SDK as OpenTelemetry's variables say, for traces alone. What is left is sent when the service closes. */
export async function startSdk(fastify: FastifyInstance): Promise<void> {
  const { config, lifecycle, log } = fastify
  const { OTEL_LOG_LEVEL: level, OTEL_NODE_RESOURCE_DETECTORS: detectors } = process.env
  tellOfSdk(log, level)
  const exporter = await createExporter(process.env, log)
  delete process.env['OTEL_LOG_LEVEL'] // with it the SDK logs to the console
  const sdk = new NodeSDK({
    traceExporter: exporter,
    resource: defaultResource().merge(
      resourceFromAttributes({ 'service.name': service.name, 'service.version': service.version }),
    ),
    // Of the SDK's defaults not that of the process: a command line can hold a secret.
    ...(!detectors && { resourceDetectors: [serviceInstanceIdDetector, hostDetector, envDetector] }),
    metricReaders: [],
    logRecordProcessors: [],
  })
  if (level !== undefined) process.env['OTEL_LOG_LEVEL'] = level
  sdk.start()
  const undo = instrument()

  let flushed: Promise<unknown> | undefined
  const flush = async () => {
    const remainingMs = lifecycle.endsAt - performance.now()
    const limitMs = Math.min(config.SHUTDOWN_TIMEOUT_MS * FLUSH_SHARE, remainingMs * REMAINING_SHARE)
    flushed ??= Promise.race([sdk.shutdown().catch(() => {}), sleep(limitMs, undefined, { ref: false })])
    await flushed
  }
  lifecycle.flushes.push(flush)
  // The first plugin's: behind all that could still end a span.
  fastify.addHook('onClose', async () => {
    await flush()
    undo()
    watchSteps((_name, _attributes, run) => run())
    for (const api of [trace, context, propagation, diag]) api.disable()
  })
}
