// A process of its own, to be killed: reads a topic as a member of a group, and does one of two things with each record. The arguments are
// one JSON value; notices go to the parent.
import { setTimeout as delay } from 'node:timers/promises'
import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import { Consumer } from '../../src/kafka/consumer/consumer.ts'
import { KafkaError } from '../../src/kafka/errors.ts'
import { systemClock } from '../../src/kafka/network/clock.ts'
import { Producer } from '../../src/kafka/producer/producer.ts'

export interface WorkerTask {
  readonly brokers: readonly string[]
  readonly topic: string
  readonly group: string
  readonly sessionTimeoutMs: number
  /** A static member (KIP-345). */
  readonly instanceId?: string
  /** Handlers take up to so long. */
  readonly handlerMs?: number
  /** Where to copy records to, in transactions with the offsets; without it they are reported to the parent. */
  readonly copyTo?: { readonly topic: string; readonly transactionalId: string }
}

export interface WorkerNotice {
  readonly handled: string
}

const task = JSON.parse(process.argv[2] ?? '') as WorkerTask
const cluster = new Cluster({ brokers: task.brokers })
const { topic, group, sessionTimeoutMs, instanceId, copyTo, handlerMs = 0 } = task
const consumer = new Consumer(
  { cluster, clock: systemClock, random: Math.random },
  { topics: [topic], group, sessionTimeoutMs, instanceId, autoCommit: copyTo === undefined, maxWaitMs: 100 },
)

/** Resolves when the parent will get it, whatever happens to this process. */
function report(notice: WorkerNotice): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send?.(notice, (error: Error | null) => (error === null ? resolve() : reject(error)))
  })
}

process.on('disconnect', () => process.exit())

if (copyTo === undefined) {
  await consumer.run({
    concurrency: 20,
    handler: async (record) => {
      if (handlerMs > 0) await delay(Math.random() * handlerMs)
      await report({ handled: record.valueText ?? '' })
    },
  })
} else {
  const { transactionalId } = copyTo
  const producer = new Producer({ transactionalId, transactionTimeoutMs: 10_000 }, { cluster })
  for await (const batch of consumer) {
    const { partition } = batch
    try {
      await producer.transaction(async (transaction) => {
        const copies = [...batch].map(({ value }) => ({ value, partition }))
        await transaction.sendMany(copyTo.topic, copies)
        transaction.offsets(batch)
      })
      batch.done()
    } catch (error) {
      if (!(error instanceof KafkaError) || error.action === 'fenced' || error.outcome === 'unknown') throw error
      // Aborted: the same records again, unless they are another member's by now.
      if (!batch.isLost) consumer.seek({ topic, partition, offset: batch.offsetAt(0) })
    }
  }
}
