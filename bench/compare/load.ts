import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type * as Busbar from 'busbar'
import type * as Kafka from 'busbar/kafka'
import type * as Memory from 'busbar/memory'
import type * as Sqlite from 'busbar/sqlite'
import { Backlog } from '../harness/backlog.ts'
import { makeBodies, makeOrders } from '../harness/payload.ts'
import type { Order } from '../harness/payload.ts'
import { requiredUrl } from '../harness/required-url.ts'

export type LoadName =
  | 'many'
  | 'single'
  | 'bytes'
  | 'keyed'
  | 'sync-bytes'
  | 'batch'
  | 'sqlite-publish'
  | 'sqlite-end-to-end'
  | 'kafka-single'
  | 'kafka-publish'
  | 'kafka-batch'
  | 'kafka-end-to-end'

const OPTIONS: Readonly<Record<LoadName, LoadOptions>> = {
  many: { handler: 'async', json: true },
  single: { handler: 'async', json: true, single: true },
  bytes: { handler: 'async' },
  keyed: { handler: 'async', json: true, keys: 100 },
  'sync-bytes': { handler: 'sync' },
  batch: { handler: 'batch' },
  'sqlite-publish': { transport: 'sqlite', json: true },
  'sqlite-end-to-end': { transport: 'sqlite', handler: 'async', json: true },
  'kafka-single': { transport: 'kafka', single: true },
  'kafka-publish': { transport: 'kafka' },
  'kafka-batch': { transport: 'kafka', handler: 'batch' },
  'kafka-end-to-end': { transport: 'kafka', handler: 'async', json: true },
}

export const LOAD_NAMES: readonly LoadName[] = Object.keys(OPTIONS) as LoadName[]

/** All publish batches of 1,000 messages with 100 bytes, unless they say otherwise; without a handler they do nothing else. */
interface LoadOptions {
  readonly handler?: 'async' | 'sync' | 'batch'
  readonly json?: boolean
  readonly keys?: number
  readonly single?: boolean
  /** Kafka: the broker of BUSBAR_TEST_KAFKA_URL. */
  readonly transport?: 'memory' | 'sqlite' | 'kafka'
}

/** One bus of one tree, ready to run a load again and again. */
export interface Load {
  /** Sends that many messages, and resolves when all are handled and acked. */
  run(count: number): Promise<void>
  close(): Promise<void>
}

const BATCH = 1_000
const OUTSTANDING = 1_000

/** Makes a bus of the tree, and starts it. */
export async function openLoad(tree: string, name: LoadName): Promise<Load> {
  const { handler, json = false, keys = 0, single = false, transport: kind = 'memory' } = OPTIONS[name]
  const { createBus, defineEvent } = (await import(join(tree, 'src/index.ts'))) as typeof Busbar
  const { transport, remove } = await openTransport(tree, kind)
  const bus = createBus({ service: 'bench', transport })
  const event = defineEvent<unknown>(`bench.compare.p${process.pid}`)
  const data: readonly unknown[] = json ? makeOrders(BATCH, 100) : makeBodies(BATCH, 100)
  const items = data.map((each, index) => ({ data: each, key: keys > 0 ? `key-${index % keys}` : undefined }))
  const backlog = new Backlog(2 * BATCH)
  let sum = 0
  const read = (message: Busbar.Message): void => {
    sum += json ? (message.data as Order).total : (message.data as Uint8Array).byteLength
  }
  const consumer = ((): Busbar.ConsumerHandle | undefined => {
    if (handler === undefined) return undefined
    if (handler === 'batch') {
      const handle = (messages: readonly Busbar.Message[]): void => {
        for (const message of messages) read(message)
        backlog.doneMany(messages.length)
      }
      return bus.consume(event, handle, { concurrency: 1, prefetch: 4 * BATCH, batch: { size: BATCH, timeoutMs: 1 } })
    }
    const handle = (message: Busbar.Message): void => {
      read(message)
      backlog.done()
    }
    return bus.consume(event, handler === 'sync' ? handle : async (message) => handle(message), { concurrency: 64 })
  })()
  await bus.start()

  async function sendMany(count: number): Promise<void> {
    for (let sent = 0; sent < count; sent += BATCH) {
      if (backlog.full) await backlog.room()
      if (consumer !== undefined) backlog.sent(BATCH)
      await bus.publishMany(event, items)
    }
  }

  async function sendSingle(count: number): Promise<void> {
    let left = count
    const lane = async (_: unknown, index: number): Promise<void> => {
      while (left-- > 0) {
        if (consumer !== undefined) backlog.sent(1)
        await bus.publish(event, items[index]?.data)
      }
    }
    await Promise.all(Array.from({ length: OUTSTANDING }, lane))
  }

  return {
    async run(count) {
      await (single ? sendSingle(count) : sendMany(count))
      await backlog.empty()
      if (consumer !== undefined) await acked(consumer, backlog.handled)
    },
    async close() {
      await consumer?.close()
      await bus.close({ timeoutMs: 5_000 })
      remove()
      if (Number.isNaN(sum)) throw new Error('a message had no data')
    },
  }
}

async function acked(consumer: Busbar.ConsumerHandle, count: number): Promise<void> {
  while (consumer.stats().acked < count) await new Promise(setImmediate)
}

async function openTransport(
  tree: string,
  kind: 'memory' | 'sqlite' | 'kafka',
): Promise<{ transport: Busbar.Transport; remove: () => void }> {
  if (kind === 'kafka') {
    const { kafka } = (await import(join(tree, 'src/transports/kafka/index.ts'))) as typeof Kafka
    return { transport: kafka({ url: requiredUrl('kafka') }), remove: () => {} }
  }
  if (kind === 'memory') {
    const { memory } = (await import(join(tree, 'src/transports/memory/index.ts'))) as typeof Memory
    return { transport: memory(), remove: () => {} }
  }
  const module = (await import(join(tree, 'src/transports/sqlite/index.ts'))) as typeof Sqlite
  const folder = mkdtempSync(join(tmpdir(), 'busbar-compare-'))
  const remove = (): void => rmSync(folder, { recursive: true, force: true })
  return { transport: module.sqlite({ path: join(folder, 'bench.db') }), remove }
}
