import { spawnSync } from 'node:child_process'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { openFolder } from '../../dev/managed-folder.ts'
import { type Server, startServer } from '../../dev/server.ts'
import { ROOT } from './helper.ts'
import type { Ends } from './tcp-proxy.ts'

export const OBSERVABILITY = path.join(ROOT, 'deploy/observability')

/** Why there is no Prometheus here, if so. */
export const noPrometheus = spawnSync('prometheus', ['--version']).error ? 'prometheus is not installed' : false

const alerts = readFileSync(path.join(OBSERVABILITY, 'alerts.yaml'), 'utf8')
/** That for which the alerts ask. */
export const [, job = ''] = /job="([^"]+)"/.exec(alerts) ?? []

export interface Series {
  metric: Record<string, string>
  /** Seconds since 1970, and the number as text. */
  values: [seconds: number, value: string][]
}

/** The series of an instant query have one value. */
type Result = { metric: Series['metric']; value: Series['values'][number] }

/** A Prometheus that scrapes every second, under the job for which the alerts ask. */
export class Prometheus {
  /** Four times the interval of scrapes, as Grafana makes it. */
  static readonly rateInterval = '4s'
  readonly #server: Server
  readonly #targets: string
  #scraped: { targets: string[]; labels: { instance: string } }[] = []

  private constructor(server: Server, targets: string) {
    this.#server = server
    this.#targets = targets
  }

  /** With the service's alerts, whose `for` is a second: the rest, such as their windows, is as they ship. */
  static async start(t: Ends): Promise<Prometheus> {
    const home = await openFolder('prometheus-')
    const file = (name: string) => path.join(home.folder, name)
    writeFileSync(file('alerts.yaml'), alerts.replace(/^( +for: ).*$/gm, '$11s'))
    writeFileSync(
      file('prometheus.yml'),
      JSON.stringify({
        global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
        rule_files: ['alerts.yaml'],
        scrape_configs: [{ job_name: job, file_sd_configs: [{ files: ['targets.json'] }] }],
      }),
    )
    const server = await startServer(home, {
      command: (port) => ({
        argv: [
          'prometheus',
          `--config.file=${file('prometheus.yml')}`,
          `--storage.tsdb.path=${file('data')}`,
          `--web.listen-address=127.0.0.1:${port}`,
        ],
        stopSignal: 'SIGKILL',
      }),
      url: (port) => `http://127.0.0.1:${port}`,
      probe: async (url) => {
        const { ok, status } = await fetch(`${url}/-/ready`)
        if (!ok) throw new Error(`status ${status}`)
      },
      stopSignal: 'SIGTERM',
      immediateSignal: 'SIGKILL',
    })
    t.teardown(() => server.close())
    return new Prometheus(server, file('targets.json'))
  }

  /** Scrapes the service at this address too, from now on. */
  scrape(instance: string, url: string): void {
    this.#scraped = this.#scraped.filter(({ labels }) => labels.instance !== instance)
    this.#scraped.push({ targets: [new URL(url).host], labels: { instance } })
    // In one step: Prometheus reads it when it changes.
    writeFileSync(`${this.#targets}.new`, JSON.stringify(this.#scraped))
    renameSync(`${this.#targets}.new`, this.#targets)
  }

  /** What the expression is now. */
  async query(expression: string): Promise<Result[]> {
    return (await this.#ask('query', { query: expression })) as Result[]
  }

  /** What it was, in steps of two seconds. Times are milliseconds since 1970. */
  async queryRange(expression: string, fromMs: number, toMs: number): Promise<Series[]> {
    const [start, end] = [fromMs / 1_000, toMs / 1_000].map(String) as [string, string]
    return (await this.#ask('query_range', { query: expression, start, end, step: '2' })) as Series[]
  }

  async #ask(what: string, parameters: Record<string, string>): Promise<unknown> {
    const response = await fetch(`${this.#server.url}/api/v1/${what}?${new URLSearchParams(parameters)}`)
    const { error, data } = (await response.json()) as { error?: string; data?: { result: unknown } }
    if (error) throw new Error(`${error}: ${parameters['query']}`)
    return data?.result
  }
}
