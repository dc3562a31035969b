import { Queue, Worker } from 'bullmq'
import { Backlog } from '../harness/backlog.ts'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import type { CaseOutput } from '../harness/case-output.ts'
import { measureLatency } from '../harness/measure-latency.ts'
import { measure, measureRate } from '../harness/measure-rate.ts'
import { makeOrders } from '../harness/payload.ts'
import type { Order } from '../harness/payload.ts'
import { requiredUrl } from '../harness/required-url.ts'

// BullMQ on Redis: `--mode` is publish (1,000 by addBulk), consume (a filled queue, worker with concurrency 100), e2e or latency.

const args = readCaseArguments()
const { hostname, port } = new URL(requiredUrl('redis'))
const connection = { host: hostname, port: Number(port), maxRetriesPerRequest: null }
const name = `bench-${process.pid}`
const BULK = 100
const orders = makeOrders(1_000, args.number('bytes', 100))
const queue = new Queue(name, { connection, defaultJobOptions: { removeOnComplete: true } })
await queue.waitUntilReady()
const backlog = new Backlog(4_000)
let sum = 0
let onProbe: ((index: number) => void) | undefined

/** Several smaller bulks at once: on one connection that is faster than one large one, and as fast as single adds. */
async function addBatch(count: number): Promise<void> {
  backlog.sent(count)
  const bulks: Promise<unknown>[] = []
  for (let from = 0; from < count; from += BULK) {
    const batch = orders.slice(from, Math.min(from + BULK, count))
    bulks.push(queue.addBulk(batch.map((data) => ({ name: 'placed', data }))))
  }
  await Promise.all(bulks)
}

function makeWorker(): Worker {
  return new Worker(
    name,
    async (job) => {
      const data = job.data as Order & { readonly index?: number }
      sum += data.total
      if (data.index === undefined) backlog.done()
      else onProbe?.(data.index)
    },
    { connection, concurrency: 100, autorun: false, removeOnComplete: { count: 0 } },
  )
}

/** The last jobs are handled before they are completed: waits for the latter too. */
async function completed(): Promise<void> {
  while ((await queue.getActiveCount()) > 0) await new Promise(setImmediate)
}

async function publishRate(): Promise<CaseOutput> {
  return measureRate(args, async (deadline) => {
    let added = 0
    for (; !deadline.passed; added += orders.length) await addBatch(orders.length)
    return added
  })
}

async function endToEnd(worker: Worker): Promise<CaseOutput> {
  worker.run().catch(fail)
  return measureRate(args, async (deadline) => {
    const before = backlog.handled
    while (!deadline.passed) {
      if (backlog.full) await backlog.room()
      await addBatch(orders.length)
    }
    await backlog.empty()
    await completed()
    return backlog.handled - before
  })
}

async function consumeRate(worker: Worker): Promise<CaseOutput> {
  const consumeAll = async (count: number): Promise<number> => {
    await worker.resume()
    await backlog.empty()
    await completed()
    return count
  }
  const fill = async (count: number): Promise<void> => {
    await worker.pause()
    for (let left = count; left > 0; left -= orders.length) await addBatch(Math.min(left, orders.length))
  }
  worker.run().catch(fail)
  const warmup = Math.ceil(args.messages / 10)
  await fill(warmup)
  await consumeAll(warmup)
  await fill(args.messages)
  return measure(() => consumeAll(args.messages))
}

async function latency(worker: Worker): Promise<CaseOutput> {
  worker.run().catch(fail)
  await worker.waitUntilReady()
  return measureLatency(args, async (run) => {
    onProbe = (index) => run.arrived(index)
    return (index) => void queue.add('probe', { index, ...orders[0] }).catch(fail)
  })
}

function fail(error: unknown): never {
  console.error(error)
  process.exit(1)
}

async function run(): Promise<CaseOutput> {
  const mode = args.option('mode', 'e2e')
  if (mode === 'publish') return publishRate()
  const worker = makeWorker()
  const output = await (mode === 'consume' ? consumeRate : mode === 'latency' ? latency : endToEnd)(worker)
  await worker.close()
  return output
}

const output = await run()
await queue.obliterate({ force: true, count: 10_000 })
await queue.close()
if (Number.isNaN(sum)) throw new Error('the handler got no total')
printCaseOutput(output)
process.exit()
