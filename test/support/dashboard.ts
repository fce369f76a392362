import { readFileSync } from 'node:fs'
import path from 'node:path'
import { job, OBSERVABILITY, Prometheus } from './prometheus.ts'

interface Target {
  refId: string
  expr: string
  legendFormat: string
  instant?: boolean
}

export interface Panel {
  id: number
  type: string
  title: string
  description?: string
  datasource?: { uid: string }
  gridPos: { x: number; y: number; w: number; h: number }
  fieldConfig?: { defaults: { unit: string; thresholds?: { steps: { color: string; value: number | null }[] } } }
  targets?: Target[]
}

interface Dashboard {
  uid: string
  panels: Panel[]
  templating: { list: { name: string }[] }
  annotations: { list: { expr: string }[] }
}

export const text = readFileSync(path.join(OBSERVABILITY, 'dashboard.json'), 'utf8')
export const dashboard = JSON.parse(text) as Dashboard

/** What Grafana sends: all replicas of the service. */
export function substituted(expression: string): string {
  return expression
    .replaceAll('$job', job)
    .replaceAll('$instance', '.*')
    .replaceAll('$__rate_interval', Prometheus.rateInterval)
}
