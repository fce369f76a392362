import { type ELDHistogram, monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { getHeapSpaceStatistics, getHeapStatistics } from 'node:v8'
import type { Reading } from '../core/feature.ts'

const DELAY_RESOLUTION_MS = 10
/** The delays told are those of the last one to two of these: every scraper sees each, that asks once a minute. */
const DELAY_WINDOW_MS = 60_000

/** Two histograms, of which one starts anew in turn, and the other, which has seen more, is read. */
export function watchDelays() {
  const pair = [0, 1].map(() => monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS })) as [
    ELDHistogram,
    ELDHistogram,
  ]
  for (const delays of pair) delays.enable()
  const turn = setInterval(() => pair.reverse()[1]?.reset(), DELAY_WINDOW_MS).unref()
  return {
    get recent() {
      return pair[0]
    },
    stop() {
      clearInterval(turn)
      for (const delays of pair) delays.disable()
    },
  }
}

/** Of the event loop, the processor, the memory and the heap. */
export function ofProcess(delay: ELDHistogram): Reading[] {
  // Node measures how long a timer takes that is due after the resolution.
  const late = (ns: number) => Math.max(0, ns / 1e9 - DELAY_RESOLUTION_MS / 1e3)
  const { active, idle } = performance.eventLoopUtilization()
  return [
    ['nodejs_eventloop_delay_max_seconds', 'The latest a timer was in the last minute or two', [[{}, late(delay.max)]]],
    ['nodejs_eventloop_delay_p99_seconds', 'The same but for 1 %', [[{}, late(delay.percentile(99))]]],
    [
      'nodejs_eventloop_time_seconds_total',
      'Time of the event loop by state',
      [
        [{ nodejs_eventloop_state: 'active' }, active / 1e3],
        [{ nodejs_eventloop_state: 'idle' }, idle / 1e3],
      ],
    ],
    [
      'process_cpu_time_seconds_total',
      'CPU time by mode',
      Object.entries(process.cpuUsage()).map(([mode, us]) => [{ cpu_mode: mode }, us / 1e6]),
    ],
    ['process_memory_usage_bytes', 'Resident memory', [[{}, process.memoryUsage.rss()]]],
    ['process_uptime_seconds', 'Age of the process', [[{}, process.uptime()]]],
    ['process_start_time_seconds', 'Start of the process, since 1970', [[{}, performance.timeOrigin / 1e3]]],
    [
      'v8js_memory_heap_used_bytes',
      'Heap in use by space',
      getHeapSpaceStatistics().map((heap) => [{ v8js_heap_space_name: heap.space_name }, heap.space_used_size]),
    ],
    ['v8js_heap_size_limit_bytes', 'Heap of all spaces at the most', [[{}, getHeapStatistics().heap_size_limit]]],
  ]
}
