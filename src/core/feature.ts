import type { FastifyInstance, FastifyPluginAsync, FastifyPluginCallback } from 'fastify'
import type { TProperties } from 'typebox'
import type { Config } from './config/settings.ts'
import { type AnswerTo, learnAnswers, ofFeatures } from './error-answers.ts'
import { type ErrorReasons, learnReasons } from './reasons.ts'

/**
 * A metric as a scrape reads it: a counter if its name ends in `_total`, else a gauge. All its values have the same
 * labels.
 */
export type Reading = [name: string, help: string, values: [labels: Record<string, string>, value: number][]]

/**
 * Makes a histogram. Its `observe` is told of each value, such as a duration in seconds, and where there is a trace of
 * it, the ids of that.
 */
export type NewHistogram = (options: { name: string; help: string; labelNames: string[]; buckets: number[] }) => {
  observe(labels: Labels, value: number, exemplar?: Record<string, string>): void
}

type Labels = Record<string, string | number>

export interface FeatureOptions {
  features: Feature[]
  /** The project's migrations/ unless given. */
  folder?: string
}

/** A part of the service that lives in a folder of its own. It leaves out the fields that it does not need. */
export interface Feature {
  name: string
  /** Its settings, with descriptions. The folder adds their types to `Config` by declaration merging. */
  settings?: TProperties
  /** The settings that may come from a file, named by `…_FILE`. */
  secrets?: readonly string[]
  /**
   * Problems that no single variable shows, such as two that exclude each other. Each names variables, never a value.
   */
  problems?(env: NodeJS.ProcessEnv): string[]
  /** The same, of settings that are each valid alone. */
  contradictions?(config: Config): string[]
  /** The errors of its backend. */
  reasons?: ErrorReasons
  /** What clients are told of its errors. Those of a later feature come first, and those of `learnAnswers` before all. */
  answers?: AnswerTo
  /** Registered in the order of boot. */
  plugin?: FastifyPluginAsync<FeatureOptions> | FastifyPluginCallback<FeatureOptions>
  /** Registered once every plugin is. */
  routes?: FastifyPluginAsync
  /** Loaded where there are metrics. Each scrape reads `metrics`; `observe` is called once, before the port opens. */
  metrics?(): Promise<{
    metrics(app: FastifyInstance): Reading[]
    observe?(app: FastifyInstance, histogram: NewHistogram): void
  }>
  /** Optional folders inside of its own, with settings and errors of their own. */
  parts?: Feature[]
}

/** Loads the parts of a feature. */
export async function load<F extends Feature>(...loading: Promise<{ default: F }>[]): Promise<F[]> {
  return loaded(...(await Promise.all(loading)))
}

/** The same of modules that are loaded, as in the build. */
export function loaded<F extends Feature>(...modules: { default: F }[]): F[] {
  return modules.map((module) => module.default)
}

/** Loads features, and learns what the errors of each and of its parts mean, and what clients are told of them. */
export async function compose(...loading: Promise<{ default: Feature }>[]): Promise<Feature[]> {
  return composed(...(await Promise.all(loading)))
}

/** The same of modules that are loaded, as in the build. */
export function composed(...modules: { default: Feature }[]): Feature[] {
  const features = loaded(...modules)
  for (const { reasons, answers } of withParts(features)) {
    if (reasons) learnReasons(reasons)
    if (answers) learnAnswers(answers, ofFeatures)
  }
  return features
}

/** The features and their parts, in their order. */
export function withParts(features: Feature[]): Feature[] {
  return features.flatMap((feature) => [feature, ...(feature.parts ?? [])])
}
