import { PgBoss } from 'pg-boss'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import type { CaseOutput } from '../harness/case-output.ts'
import { measure, measureRate } from '../harness/measure-rate.ts'
import { makeOrders } from '../harness/payload.ts'
import type { Order } from '../harness/payload.ts'
import { requiredUrl } from '../harness/required-url.ts'

// pg-boss on PostgreSQL, in batches of 1,000: `--mode` is publish (insert), consume (fetch + complete of a filled queue) or e2e.

const args = readCaseArguments()
const connectionString = requiredUrl('postgres')
const orders = makeOrders(1_000, args.number('bytes', 100))
const name = `bench-${process.pid}`
const boss = new PgBoss({ connectionString, schema: `bench_${process.pid}`, supervise: false, schedule: false })
boss.on('error', (error) => console.error(error))
await boss.start()
await boss.createQueue(name)
let sum = 0

async function insertBatch(count: number): Promise<void> {
  await boss.insert(
    name,
    orders.slice(0, count).map((data) => ({ data })),
  )
}

/** Resolves with how many there were. */
async function consumeBatch(): Promise<number> {
  const jobs = await boss.fetch<Order>(name, { batchSize: orders.length })
  if (jobs.length === 0) return 0
  for (const job of jobs) sum += job.data.total
  await boss.complete(
    name,
    jobs.map((job) => job.id),
  )
  return jobs.length
}

async function consumeAll(count: number): Promise<number> {
  let handled = 0
  while (handled < count) handled += await consumeBatch()
  return handled
}

async function fill(count: number): Promise<void> {
  for (let left = count; left > 0; left -= orders.length) await insertBatch(Math.min(left, orders.length))
}

async function consumeRate(): Promise<CaseOutput> {
  const warmup = Math.ceil(args.messages / 10)
  await fill(warmup)
  await consumeAll(warmup)
  await fill(args.messages)
  return measure(() => consumeAll(args.messages))
}

/** One inserts while the other fetches, at most four batches apart. */
async function endToEnd(): Promise<CaseOutput> {
  return measureRate(args, async (deadline) => {
    let inserted = 0
    let handled = 0
    const inserting = { done: false }
    const insert = async (): Promise<void> => {
      while (!deadline.passed) {
        if (inserted - handled < 4_000) {
          await insertBatch(orders.length)
          inserted += orders.length
        } else await new Promise(setImmediate)
      }
      inserting.done = true
    }
    const consume = async (): Promise<void> => {
      while (!inserting.done || handled < inserted) handled += await consumeBatch()
    }
    await Promise.all([insert(), consume()])
    return handled
  })
}

async function publishRate(): Promise<CaseOutput> {
  return measureRate(args, async (deadline) => {
    let inserted = 0
    for (; !deadline.passed; inserted += orders.length) await insertBatch(orders.length)
    return inserted
  })
}

const mode = args.option('mode', 'e2e')
const output = await (mode === 'publish' ? publishRate() : mode === 'consume' ? consumeRate() : endToEnd())
await boss.stop({ graceful: false })
if (Number.isNaN(sum)) throw new Error('the handler got no total')
printCaseOutput(output)
process.exit()
