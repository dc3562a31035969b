import { fork } from 'node:child_process'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { useKafka } from '../integration/kafka-broker.ts'
import type { HeapSample } from './kafka-heap-load.ts'

const MINUTES = Number(process.env['BUSBAR_KAFKA_HEAP_MINUTES'] ?? 30)
/** Compiled code and pools grow at first. */
const WARM_UP = 1 / 3
/** Of the heap, in an hour: noise of the garbage collector. A record that is kept by mistake would be hundreds of them. */
const MAX_GROWTH_BYTES_PER_HOUR = 4 * 1_048_576

const kafka = useKafka({ properties: { 'log.retention.check.interval.ms': '5000' } })

/** Bytes in a second: the slope of the line that fits best. */
function slopeOf(samples: readonly HeapSample[], valueOf: (sample: HeapSample) => number): number {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const time = mean(samples.map(({ seconds }) => seconds))
  const value = mean(samples.map(valueOf))
  const above = samples.reduce((sum, each) => sum + (each.seconds - time) * (valueOf(each) - value), 0)
  return above / samples.reduce((sum, each) => sum + (each.seconds - time) ** 2, 0)
}

test(`the heap does not grow in ${MINUTES} minutes of mixed load`, { timeout: 7_200_000 }, async (context) => {
  const broker = kafka.of(context)
  const child = fork(new URL('kafka-heap-load.ts', import.meta.url), [broker.listeners.plaintext, String(MINUTES)], {
    execArgv: ['--conditions=busbar-source', '--expose-gc'],
    stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
  })
  let errors = ''
  child.stderr?.on('data', (text: Buffer) => (errors = `${errors}${text.toString()}`.slice(-4_000)))
  const samples: HeapSample[] = []
  child.on('message', (sample) => samples.push(sample as HeapSample))
  const [code] = (await once(child, 'exit')) as [number | null]
  const settled = samples.slice(Math.floor(samples.length * WARM_UP))
  const mb = (bytes: number) => (bytes / 1_048_576).toFixed(2)
  const perHour = (valueOf: (sample: HeapSample) => number) => 3_600 * slopeOf(settled, valueOf)
  const last = settled.at(-1)
  const heap = perHour(({ heapBytes }) => heapBytes)
  console.log(
    `${Math.round((last?.seconds ?? 0) / 60)} minutes, ${last?.sent} records sent, ${last?.handled} handled: the heap is ${mb(last?.heapBytes ?? 0)} MB, ` +
      `grows by ${mb(heap)} MB in an hour, external memory by ${mb(perHour(({ externalBytes }) => externalBytes))} MB; ` +
      `RSS is ${mb(last?.rssBytes ?? 0)} MB`,
  )
  // Behind the figures: those of a run that ended early say something, too.
  expect([code, errors]).toEqual([0, ''])
  expect(last?.handled).toBeGreaterThan(last?.sent ?? Infinity)
  expect(heap).toBeLessThan(MAX_GROWTH_BYTES_PER_HOUR)
})
