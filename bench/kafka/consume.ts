// What reading costs the Kafka client, over real sockets, from a broker that does next to nothing (record-server.ts):
//
//     node --conditions=busbar-source bench/kafka/consume.ts
//
// Rate by the clock, and CPU time of this process for each record: other programs on the machine disturb that less. CRCs are checked.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import { Consumer } from '../../src/kafka/consumer/consumer.ts'
import { systemClock } from '../../src/kafka/network/clock.ts'
import { median } from '../harness/median.ts'

const PARTITIONS = 60
const ROUNDS = 3
const ROUND_MS = Number(process.env['ROUND_MS'] ?? 2_000)
const WARM_UP_MS = 1_000

interface Round {
  readonly rate: number
  readonly cpuNanoseconds: number
}

/** Keeps results alive, so that nothing is optimized away. */
let sink = 0

async function withConsumer(valueBytes: number, batchRecords: number, run: (consumer: Consumer) => Promise<void>) {
  const server = fork(
    join(import.meta.dirname, 'record-server.ts'),
    [PARTITIONS, valueBytes, batchRecords].map(String),
    { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] },
  )
  const [output] = (await once(server.stdout as NodeJS.ReadableStream, 'data')) as [Buffer]
  const cluster = new Cluster({ brokers: [`127.0.0.1:${Number(output.toString())}`], clientId: 'bench' })
  const context = { cluster, clock: systemClock, random: Math.random }
  await run(new Consumer(context, { topics: ['records'] }))
  cluster.close()
  server.kill()
}

/** `read` counts records until it is stopped. */
async function measure(name: string, valueBytes: number, batchRecords: number, read: Read): Promise<void> {
  await withConsumer(valueBytes, batchRecords, async (consumer) => {
    const counter = { records: 0 }
    const reading = read(consumer, counter)
    await pause(WARM_UP_MS)
    const rounds: Round[] = []
    for (let round = 0; round < ROUNDS; round++) rounds.push(await oneRound(counter))
    await consumer.close()
    await reading
    const rate = median(rounds.map((each) => each.rate))
    const cpu = median(rounds.map((each) => each.cpuNanoseconds))
    const memory = Math.round(process.memoryUsage().rss / 1024 / 1024)
    const text = `${name.padEnd(44)}${(rate / 1e6).toFixed(2).padStart(7)} M/s`
    console.log(`${text}${cpu.toFixed(0).padStart(7)} ns of CPU${String(memory).padStart(6)} MiB RSS`)
  })
}

type Read = (consumer: Consumer, counter: { records: number }) => Promise<void>

async function oneRound(counter: { readonly records: number }): Promise<Round> {
  const [time, records, cpu] = [performance.now(), counter.records, process.cpuUsage()]
  await pause(ROUND_MS)
  const read = counter.records - records
  const used = process.cpuUsage(cpu)
  return {
    rate: read / ((performance.now() - time) / 1_000),
    cpuNanoseconds: ((used.user + used.system) * 1_000) / read,
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

const inBatches: Read = async (consumer, counter) => {
  for await (const batch of consumer) {
    for (const record of batch) sink += record.valueSize
    counter.records += batch.count
    batch.done()
  }
}

const withValues: Read = async (consumer, counter) => {
  for await (const batch of consumer) {
    for (const record of batch) sink += record.value?.[0] ?? 0
    counter.records += batch.count
    batch.done()
  }
}

const byHandler: Read = (consumer, counter) =>
  consumer.run({
    handler: (record) => {
      sink += record.valueSize
      counter.records++
    },
  })

await measure('100 B × 1,000, batches', 100, 1_000, inBatches)
await measure('100 B × 1,000, batches, value as bytes', 100, 1_000, withValues)
await measure('100 B × 1,000, a handler for each record', 100, 1_000, byHandler)
await measure('1 KB × 100, batches', 1_000, 100, inBatches)
if (sink === 0) console.log('nothing was measured')
