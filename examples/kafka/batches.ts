import { createClient } from 'busbar/kafka/client'

const brokers = process.env['KAFKA_BROKERS']?.split(',') ?? ['localhost:9092']
const kafka = createClient({ clientId: 'archive', brokers })
const consumer = kafka.consumer({ group: 'archive', topics: ['orders'] })

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void kafka.close())

try {
  for await (const batch of consumer) {
    const lines = batch.records.map((record) => record.valueText ?? '')
    await store(batch.topic, batch.partition, lines)
    batch.done() // its offsets are committed soon, together with those of other partitions
  }
} finally {
  await kafka.close()
}

async function store(topic: string, partition: number, lines: readonly string[]): Promise<void> {
  console.log(`${lines.length} of ${topic}[${partition}]`)
}
