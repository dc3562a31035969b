// A mixed load on the Kafka client, in a process of its own: `<host:port> <minutes>`. After each garbage collection it reports its memory to
// the parent. Whatever rejects ends it.
import { setTimeout as delay } from 'node:timers/promises'
import { createClient } from 'busbar/kafka/client'
import type { Codec, KafkaClient, Producer } from 'busbar/kafka/client'

export interface HeapSample {
  readonly seconds: number
  readonly heapBytes: number
  readonly externalBytes: number
  readonly rssBytes: number
  /** Records so far. */
  readonly sent: number
  readonly handled: number
}

const CODECS: readonly Codec[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']
const SAMPLE_MS = 15_000
const CHANGE_MS = 20_000
const PARTITIONS = 6

const [broker = '', minutes = '30'] = process.argv.slice(2)
const end = performance.now() + Number(minutes) * 60_000
const isOver = (): boolean => performance.now() >= end
const counts = { sent: 0, handled: 0 }
/** The first group has a member that reads: on a slow machine that takes a while, and before it there is no such group. */
const joined = Promise.withResolvers<void>()

function connect(name: string): KafkaClient {
  return createClient({ brokers: [broker], clientId: name, hooks: { onBatch: () => {}, onRequest: () => {} } })
}

async function every(ms: number, run: (turn: number) => Promise<void>): Promise<void> {
  for (let turn = 0; !isOver(); turn++) {
    await run(turn)
    await delay(ms)
  }
}

async function produce(kafka: KafkaClient): Promise<void> {
  const producers = CODECS.map((compression): Producer => kafka.producer({ compression, lingerMs: 2 }))
  await every(20, async (turn) => {
    const records = Array.from({ length: 50 }, (_, index) => ({
      key: `k${(turn * 50 + index) % 1_000}`,
      value: Buffer.alloc(100 + ((turn * 37 + index) % 900), 'x'),
      headers: [{ key: 'turn', value: String(turn) }],
    }))
    await producers[turn % producers.length]?.sendMany('heap', records)
    counts.sent += records.length
  })
}

/** Two members at a time: one goes and another comes, again and again. */
async function group(kafka: KafkaClient, protocol: 'classic' | 'consumer'): Promise<void> {
  const join = () => {
    const consumer = kafka.consumer({ topics: ['heap'], group: `heap-${protocol}`, protocol })
    const ended = consumer.run({
      concurrency: 20,
      handler: async (record) => {
        if (record.offset % 100 === 0) await delay(5)
        counts.handled++
        if (protocol === 'classic') joined.resolve()
      },
    })
    return { consumer, ended }
  }
  const members = [join(), join()]
  while (!isOver()) {
    await delay(CHANGE_MS)
    const oldest = members.shift()
    await oldest?.consumer.close()
    await oldest?.ended
    members.push(join())
  }
  await Promise.all(members.map(({ consumer }) => consumer.close()))
  await Promise.all(members.map(({ ended }) => ended))
}

async function readAll(kafka: KafkaClient): Promise<void> {
  const consumer = kafka.consumer({ topics: ['heap'], onReset: 'latest' })
  // Not after a batch: when everybody has stopped sending, none comes any more.
  const closed = delay(Math.max(0, end - performance.now())).then(() => consumer.close())
  for await (const batch of consumer) {
    for (const { value } of batch) counts.handled += value === null ? 0 : 1
    batch.done()
  }
  await closed
}

async function transact(kafka: KafkaClient): Promise<void> {
  const producer = kafka.producer({ transactionalId: true })
  await every(500, async (turn) => {
    const records = Array.from({ length: 10 }, (_, index) => ({ value: `${turn} ${index}` }))
    const running = producer.transaction(async (tx) => {
      await tx.sendMany('shared', records)
      if (turn % 10 === 9) throw new Error('aborted on purpose')
    })
    await running.catch((error: unknown) => {
      if (!(error instanceof Error) || error.message !== 'aborted on purpose') throw error
    })
  })
}

async function share(kafka: KafkaClient): Promise<void> {
  const consumer = kafka.shareConsumer({ topics: ['shared'], group: 'heap-share', maxUndecided: 20 })
  const ended = consumer.run({
    concurrency: 5,
    handler: (record) => {
      counts.handled++
      if (record.offset % 10 === 0 && record.deliveryCount === 1) record.release()
    },
  })
  await delay(Math.max(0, end - performance.now()))
  await consumer.close()
  await ended
}

/** Clients that come and go, and calls of the admin client. */
async function visit(kafka: KafkaClient): Promise<void> {
  const admin = kafka.admin()
  await joined.promise
  await every(5_000, async (turn) => {
    await admin.groups.list()
    await admin.offsets.list('heap-classic')
    await admin.records.offsets('heap', 'latest')
    const visitor = connect(`visitor-${turn}`)
    await visitor.producer().send({ topic: 'heap', value: 'visit' })
    await visitor.close()
  })
}

async function report(): Promise<void> {
  const start = performance.now()
  await every(SAMPLE_MS, async () => {
    // Twice: what finalizers let go is collected too.
    await collect()
    await collect()
    const { heapUsed, external, rss } = process.memoryUsage()
    const seconds = (performance.now() - start) / 1_000
    const memory = { heapBytes: heapUsed, externalBytes: external, rssBytes: rss }
    process.send?.({ seconds, ...memory, ...counts } satisfies HeapSample)
  })
}

async function collect(): Promise<void> {
  if (globalThis.gc === undefined) throw new Error('run it with --expose-gc')
  globalThis.gc()
  await delay(50)
}

process.on('disconnect', () => process.exit())
const kafka = connect('heap')
const configs = { 'retention.bytes': '33554432', 'segment.bytes': '16777216' }
await kafka.admin().topics.create(['heap', 'shared'].map((name) => ({ name, partitions: PARTITIONS, configs })))
await Promise.all([
  produce(kafka),
  group(kafka, 'classic'),
  group(kafka, 'consumer'),
  readAll(kafka),
  transact(kafka),
  share(kafka),
  visit(kafka),
  report(),
])
await kafka.close()
process.disconnect?.()
