/** A part of the service's own work. One that resolves with an `error` has failed. */
type Step = <T>(name: string, attributes: Record<string, string>, run: () => Promise<T>) => Promise<T>

let around: Step = (_name, _attributes, run) => run()

/** Runs it. Tracing, where there is any, makes a span of it. */
export const step: Step = (name, attributes, run) => around(name, attributes, run)

/** From now on this is around each step. */
export function watchSteps(watch: Step): void {
  around = watch
}
