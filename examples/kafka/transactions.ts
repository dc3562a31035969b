import { setTimeout as delay } from 'node:timers/promises'
import { createClient, KafkaError } from 'busbar/kafka/client'
import type { ConsumerBatch } from 'busbar/kafka/client'

const brokers = process.env['KAFKA_BROKERS']?.split(',') ?? ['localhost:9092']
const kafka = createClient({ clientId: 'invoicing', brokers })
const producer = kafka.producer({ transactionalId: true })
const consumer = kafka.consumer({ group: 'invoicing', topics: ['orders'], autoCommit: false })

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void kafka.close())

try {
  for await (const batch of consumer) {
    while (!batch.isLost && !(await invoice(batch))) await delay(1_000)
    batch.done()
  }
} finally {
  await kafka.close()
}

/** The invoices and the offsets of their orders: all of it, or nothing. False if the transaction was aborted. */
async function invoice(batch: ConsumerBatch): Promise<boolean> {
  try {
    await producer.transaction(async (tx) => {
      const invoices = batch.records.map(({ key, valueText }) => ({ key, value: `invoice for ${valueText}` }))
      await tx.sendMany('invoices', invoices)
      tx.offsets(batch)
    })
    console.log(`${batch.count} invoices`)
    return true
  } catch (error) {
    const isNotCommitted = error instanceof KafkaError && error.outcome !== 'unknown'
    if (isNotCommitted && (error.action === 'abort' || error.retriable)) return false
    throw error
  }
}
