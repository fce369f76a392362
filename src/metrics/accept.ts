/** As the library writes it. */
const VERSION = '1.0.0'

/**
 * Whether a scraper that sends this `Accept` names OpenMetrics, in the version that there is, and likes Prometheus' text
 * no better. A `*` alone names nothing.
 */
export function prefersOpenMetrics(accept = ''): boolean {
  const ranges = accept.toLowerCase().split(',').map(read)
  const weightOf = (...types: string[]) => {
    const found = types.map((type) => ranges.filter((range) => range.type === type)).find(({ length }) => length > 0)
    return Math.max(0, ...(found ?? []).map(({ weight }) => weight))
  }
  const weight = weightOf('application/openmetrics-text')
  return weight > 0 && weight >= weightOf('text/plain', 'text/*', '*/*')
}

function read(range: string): { type: string; weight: number } {
  const [type = '', ...parameters] = range.split(';').map((part) => part.trim())
  const { q = '1', version = VERSION } = Object.fromEntries(parameters.map((parameter) => parameter.split('=')))
  const isKnown = type !== 'application/openmetrics-text' || version === VERSION
  return { type, weight: isKnown ? Number(q) : 0 }
}
