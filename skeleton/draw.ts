/** Draws panels of a Grafana dashboard, over the data of a run, as one SVG in the grid of the dashboard. */
import type { Panel } from '../test/support/dashboard.ts'
import type { Series } from '../test/support/prometheus.ts'

export interface Drawn {
  panel: Panel
  series: { name: string; values: Series['values'] }[]
}

export interface Span {
  fromMs: number
  toMs: number
  /** What happens in between, and what it is called. */
  fault: { fromMs: number; toMs: number; name: string }
}

const COLUMN = 60
const ROW = 27
const GAP = 4
const COLOURS = ['#3871dc', '#e0752d', '#37872d', '#a352cc', '#c4162a', '#0a9d9d', '#b8860b', '#6d6d6d', '#d6589f']
const GOOD = '#56a64b'
const BAD = '#e02f44'
const NAMED: Record<string, string> = { green: GOOD, red: BAD, orange: '#e0752d', blue: '#3871dc' }
/** Points that are further apart are not joined. */
const GAP_MS = 5_000

const SMALL = 'fill="#6e7078" font-size="10"'

const colour = (index: number) => COLOURS[index % COLOURS.length]
const escaped = (text: string) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;')
const round = (value: number) => Number(value.toFixed(1))
const label = (x: number, y: number, text: string, more = '') =>
  `<text x="${x}" y="${y}"${more}>${escaped(text)}</text>`

/** As Grafana writes a value of this unit. */
function format(value: number, unit: string): string {
  const short = (n: number) => String(Number(n.toPrecision(n >= 100 ? 3 : 2)))
  if (unit === 'percentunit') return `${short(value * 100)} %`
  if (unit === 's') return value > 0 && value < 1 ? `${short(value * 1e3)} ms` : `${short(value)} s`
  if (unit === 'bytes') return `${short(value / 2 ** 20)} MiB`
  return `${short(value)}${{ reqps: ' req/s', ops: ' ops/s' }[unit] ?? ''}`
}

/** Two round steps above 0, of which the second is no less than the highest value. */
function marksTo(highest: number, unit: string): number[] {
  const scale = unit === 'bytes' ? 2 ** 20 : 1
  const rough = (highest || 1) / 2 / scale
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = scale * power * ([1, 2, 2.5, 5].find((n) => n * power >= rough) ?? 10)
  return [0, step, 2 * step]
}

/** The numbers of a series by time; what is no number is a gap. */
const points = (values: Series['values']) =>
  values.map(([at, value]) => ({ ms: at * 1_000, value: Number(value) })).filter(({ value }) => Number.isFinite(value))

export function draw(drawn: Drawn[], rows: Panel[], span: Span): string {
  const top = Math.min(...rows.map(({ gridPos }) => gridPos.y))
  const bottom = Math.max(...drawn.map(({ panel: { gridPos } }) => gridPos.y + gridPos.h))
  const place = ({ gridPos: { x, y, w, h } }: Panel) =>
    ({ x: x * COLUMN, y: (y - top) * ROW, width: w * COLUMN - GAP, height: h * ROW - GAP }) as const
  const titles = rows.map((row) => label(2, place(row).y + 18, row.title, ' font-size="14" font-weight="600"'))
  const panels = drawn.map((one) => {
    const { x, y, width, height } = place(one.panel)
    const frame = `<rect width="${width}" height="${height}" rx="3" fill="#fff" stroke="#d8d9dd"/>`
    const title = label(10, 17, one.panel.title, ' font-weight="600"')
    const kind = { stat: drawStat, 'state-timeline': drawStates }[one.panel.type] ?? drawLines
    return `<g transform="translate(${x} ${y})">${frame}${title}${kind(one, width, height, span)}</g>\n`
  })
  const [width, height] = [24 * COLUMN, (bottom - top) * ROW]
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-8 -4 ${width + 12} ${height + 8}" font-family="Inter,Helvetica,Arial,sans-serif" font-size="12" fill="#24292e">
<title>The dashboard: ${escaped(span.fault.name)}</title>
<rect x="-8" y="-4" width="${width + 12}" height="${height + 8}" fill="#f4f5f5"/>
${titles.join('\n')}
${panels.join('')}</svg>
`
}

/** As it was in the middle of the fault. */
function drawStat({ panel, series }: Drawn, width: number, height: number, { fault }: Span): string {
  const middle = (fault.fromMs + fault.toMs) / 2
  const cells = series.map(({ name, values }, index) => {
    const value = points(values).findLast(({ ms }) => ms <= middle)?.value ?? Number.NaN
    const { unit, thresholds } = panel.fieldConfig?.defaults ?? { unit: '' }
    const step = thresholds?.steps.findLast((step) => step.value === null || value >= step.value)
    const wide = (width - 16) / series.length
    const x = 8 + index * wide
    const fill = NAMED[step?.color ?? 'blue']
    const tile = `<rect x="${x}" y="26" width="${wide}" height="${height - 34}" fill="${fill}"/>`
    const text = Number.isNaN(value) ? 'No data' : format(value, unit)
    const centred = ' text-anchor="middle" fill="#fff"'
    const big = label(x + wide / 2, height / 2 + 20, text, `${centred} font-size="26" font-weight="600"`)
    return tile + big + (series.length > 1 ? label(x + wide / 2, height - 15, name, centred) : '')
  })
  return cells.join('')
}

/** The time axis, and the fault behind all else. */
function axis(left: number, right: number, bottom: number, { fromMs, toMs, fault }: Span) {
  const x = (ms: number) => round(left + ((ms - fromMs) / (toMs - fromMs)) * (right - left))
  const ticks: string[] = []
  for (let ms = fromMs; ms <= toMs; ms += 30_000) {
    const seconds = Math.round((ms - fromMs) / 1_000)
    const text = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
    ticks.push(label(x(ms), bottom + 14, text, ` text-anchor="middle" ${SMALL}`))
  }
  const [from, to] = [x(fault.fromMs), x(fault.toMs)]
  const band =
    `<rect x="${from}" y="26" width="${round(to - from)}" height="${bottom - 26}" fill="${BAD}" fill-opacity=".09"/>` +
    `<path d="M${from} 26V${bottom}M${to} 26V${bottom}" stroke="${BAD}" stroke-dasharray="3 3"/>` +
    label(round((from + to) / 2), 36, fault.name, ` text-anchor="middle" fill="${BAD}" font-size="10"`)
  return { x, svg: band + ticks.join('') }
}

function drawStates({ series }: Drawn, width: number, height: number, span: Span): string {
  const [left, right, bottom] = [150, width - 12, height - 22]
  const { x, svg } = axis(left, right, bottom, span)
  const tall = (bottom - 42) / series.length
  const bars = series.map(({ name, values }, index) => {
    const y = round(42 + index * tall)
    const states = points(values)
    const runs = states.filter(({ value }, at) => value !== states[at - 1]?.value)
    const rects = runs.map(({ ms, value }, at) => {
      const end = runs[at + 1]?.ms ?? states.at(-1)?.ms ?? ms
      const wide = round(x(end) - x(ms))
      return `<rect x="${x(ms)}" y="${y}" width="${wide}" height="${round(tall - 3)}" fill="${value ? GOOD : BAD}" fill-opacity=".8"/>`
    })
    return label(10, round(y + tall / 2 + 3), name, ' font-size="10"') + rects.join('')
  })
  return svg + bars.join('')
}

function drawLines({ panel, series }: Drawn, width: number, height: number, span: Span): string {
  const [left, right, bottom] = [66, width - 12, height - 40]
  const unit = panel.fieldConfig?.defaults.unit ?? ''
  const { x, svg } = axis(left, right, bottom, span)
  const lines = series.map(({ name, values }) => ({ name, line: points(values) })).filter(({ line }) => line.length > 0)
  const marks = marksTo(Math.max(0, ...lines.flatMap(({ line }) => line.map(({ value }) => value))), unit)
  const y = (value: number) => round(bottom - (value / (marks.at(-1) ?? 1)) * (bottom - 42))
  const grid = marks.map((mark) => {
    const text = label(left - 6, y(mark) + 3, format(mark, unit), ` text-anchor="end" ${SMALL}`)
    return `<path d="M${left} ${y(mark)}H${right}" stroke="#e4e5e9"/>${text}`
  })
  const drawn = lines.map(({ line }, index) => {
    const path = line.map(({ ms, value }, at) => {
      const isGap = ms - (line[at - 1]?.ms ?? 0) > GAP_MS
      return `${isGap ? 'M' : 'L'}${x(ms)} ${y(value)}`
    })
    return `<path d="${path.join('')}" fill="none" stroke="${colour(index)}" stroke-width="1.5" stroke-linejoin="round"/>`
  })
  const names = lines.map(({ name }) => name)
  return svg + grid.join('') + drawn.join('') + legend(names, width, height)
}

/** As many names as there is room for. */
function legend(names: string[], width: number, height: number): string {
  let at = 10
  const entries = names.map((name, index) => {
    const from = at
    at += 20 + name.length * 5.4
    if (at > width) return ''
    const dot = `<circle cx="${round(from + 3)}" cy="${height - 11}" r="4" fill="${colour(index)}"/>`
    return dot + label(round(from + 10), height - 7, name, ' font-size="10"')
  })
  return entries.join('')
}
