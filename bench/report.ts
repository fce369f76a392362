/** One measured value for each column of a row. */
export type Sample = Record<string, number>

export interface Column {
  key: string
  head: string
  digits?: number
}

/** Samples by row, one a round, and how they read. */
export class Table {
  readonly title: string
  readonly notes: string
  readonly #columns: Column[]
  readonly #rows = new Map<string, Sample[]>()
  readonly #failures = new Map<string, string>()

  constructor(title: string, columns: Column[], notes = '') {
    this.title = title
    this.notes = notes
    this.#columns = columns
  }

  /** Adds what `measure` gives; what cannot be measured is reported as such, and not tried again. */
  async measure(row: string, measure: () => Promise<Sample>): Promise<void> {
    if (this.#failures.has(row)) return
    try {
      const samples = this.#rows.get(row) ?? []
      this.#rows.set(row, samples)
      samples.push(await measure())
      process.stderr.write('.')
    } catch (err) {
      this.#failures.set(row, (err as Error).message)
      process.stderr.write(`\n${row}: ${(err as Error).message}\n`)
    }
  }

  values(row: string, key: string): number[] {
    return (this.#rows.get(row) ?? []).map((sample) => sample[key] ?? Number.NaN)
  }

  markdown(): string {
    const heads = ['', ...this.#columns.map(({ head }) => head)]
    const lines = Array.from(this.#rows.keys(), (row) => {
      const failure = this.#failures.get(row)
      if (failure) return `| ${row} | not measured: ${failure.replaceAll('|', '/')} |`
      return `| ${[row, ...this.#columns.map((column) => this.#cell(row, column))].join(' | ')} |`
    })
    const table = [`| ${heads.join(' | ')} |`, `|${' --- |'.repeat(heads.length)}`, ...lines].join('\n')
    return `## ${this.title}\n\n${this.notes && `${this.notes}\n\n`}${table}\n`
  }

  #cell(row: string, { key, digits = 0 }: Column): string {
    const values = this.values(row, key).filter((value) => !Number.isNaN(value))
    if (values.length === 0) return '–'
    const [low, middle, high] = [Math.min(...values), median(values), Math.max(...values)].map((n) => format(n, digits))
    return low === high ? `${middle}` : `${middle} (${low}–${high})`
  }
}

export function format(value: number, digits = 0): string {
  const [whole = '', fraction] = value.toFixed(digits).split('.')
  return whole.replaceAll(/\B(?=(\d{3})+$)/g, ' ') + (fraction ? `.${fraction}` : '')
}

export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const half = sorted.length / 2
  return ((sorted[Math.ceil(half) - 1] ?? Number.NaN) + (sorted[Math.floor(half)] ?? Number.NaN)) / 2
}

/**
 * The ratio of two rows: the median over the rounds, since what disturbs a round disturbs both.
 * NaN where one of them was not measured.
 */
export function ratio(of: number[], over: number[]): number {
  return median(of.slice(0, over.length).map((value, round) => value / (over[round] as number)))
}

export interface Target {
  what: string
  bound: string
  value: number
  met: boolean
}

export function atLeast(bound: number, what: string, value: number): Target {
  return { what, bound: `at least ${bound}`, value, met: value >= bound }
}

export function atMost(bound: number, what: string, value: number): Target {
  return { what, bound: `at most ${bound}`, value, met: value <= bound }
}

export function under(bound: number, what: string, value: number): Target {
  return { what, bound: `under ${bound}`, value, met: value < bound }
}

export function targetsMarkdown(targets: Target[]): string {
  const lines = targets.map(({ what, bound, value, met }) => {
    const measured = Number.isNaN(value) ? ['–', 'not measured'] : [format(value, 2), met ? 'met' : '**not met**']
    return `| ${[what, bound, ...measured].join(' | ')} |`
  })
  return ['| Target | Bound | Measured | |', '| --- | --- | --- | --- |', ...lines, ''].join('\n')
}

/** Runs the measurements of a round `rounds` times, each time beginning with another one. */
export async function interleave(rounds: number, measurements: (() => Promise<void>)[]): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const first = round % measurements.length
    for (const measure of [...measurements.slice(first), ...measurements.slice(0, first)]) await measure()
  }
  process.stderr.write('\n')
}
