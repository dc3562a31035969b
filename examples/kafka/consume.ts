import { createClient } from 'busbar/kafka/client'

const brokers = process.env['KAFKA_BROKERS']?.split(',') ?? ['localhost:9092']
const kafka = createClient({ clientId: 'billing', brokers })
const consumer = kafka.consumer({ group: 'billing', topics: ['orders'] })

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void kafka.close())

try {
  await consumer.run({
    concurrency: 10,
    handler: async (record, { topic, partition }) => {
      const { total } = JSON.parse(record.valueText ?? '{}') as { readonly total: number }
      await charge(record.keyText, total)
      console.log(`${topic}[${partition}] ${record.offset}: charged ${total} for ${record.keyText}`)
    },
  })
} finally {
  await kafka.close() // also after an error: it commits, and leaves the group
}

async function charge(_order: string | null, _total: number): Promise<void> {
  // A call of your payment provider.
}
