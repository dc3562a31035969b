import { setTimeout as sleep } from 'node:timers/promises'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measure } from '../harness/measure-rate.ts'
import { median } from '../harness/median.ts'
import { openBenchBus } from './bench-bus.ts'

// A consumer ten times slower than the publisher, until all is handled. Memory is sampled over the whole time: what counts
// is that it does not grow while the backlog does, and that nothing is left when the backlog is gone.

const SAMPLE_MS = 100

const args = readCaseArguments()
const publishRate = args.number('publish-rate', 500_000)
const consumeRate = publishRate / 10
const count = args.messages * args.number('times', 5)
const { bus, source, close } = await openBenchBus(args)
const { event, items, read } = source
const all = Promise.withResolvers<void>()
let handled = 0
let sum = 0
let startedAt = 0

/** Waits while `done` is ahead of what `perSecond` allows. */
async function keepTo(perSecond: number, done: number): Promise<void> {
  const aheadMs = (done / perSecond) * 1_000 - (performance.now() - startedAt)
  if (aheadMs >= 1) await sleep(aheadMs)
}

bus.consume(
  event,
  async (message) => {
    sum += read(message)
    if (++handled === count) all.resolve()
    else await keepTo(consumeRate, handled)
  },
  { concurrency: 1 },
)

async function publishAll(): Promise<void> {
  for (let sent = 0; sent < count; sent += items.length) {
    await bus.publishMany(event, items.slice(0, count - sent))
    await keepTo(publishRate, sent + items.length)
  }
}

function rssMb(): number {
  return process.memoryUsage.rss() / 2 ** 20
}

await bus.start()
startedAt = performance.now()
const startMb = rssMb()
const samples: number[] = []
const sampler = setInterval(() => samples.push(rssMb()), SAMPLE_MS)
let publishSeconds = 0
const output = await measure(async () => {
  await publishAll()
  publishSeconds = (performance.now() - startedAt) / 1_000
  await all.promise
  return count
})
clearInterval(sampler)
const endMb = rssMb()
await close()
if (Number.isNaN(sum)) throw new Error('the handler got no total')

const quarter = Math.floor(samples.length / 4)
printCaseOutput({
  ...output,
  extra: {
    startMb,
    peakMb: Math.max(startMb, ...samples),
    endMb,
    growthMb: median(samples.slice(-quarter)) - median(samples.slice(quarter, 2 * quarter)),
    publishSeconds,
  },
})
