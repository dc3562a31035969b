import { createClient } from 'busbar/kafka/client'

const brokers = process.env['KAFKA_BROKERS']?.split(',') ?? ['localhost:9092']
const kafka = createClient({ clientId: 'ops', brokers })
const admin = kafka.admin()

try {
  console.log(`topics: ${(await admin.topics.list()).join(', ')}`)
  await admin.topics.create([
    { name: 'orders', partitions: 3, configs: { 'retention.ms': '604800000' } },
    { name: 'invoices', partitions: 3 },
  ])

  await admin.topics.addPartitions({ invoices: 6 })
  await admin.configs.alter({ type: 'topic', name: 'orders' }, { set: { 'cleanup.policy': 'delete' } })

  // A new group that begins an hour ago.
  await admin.offsets.reset('reports', ['orders'], { timestampMs: Date.now() - 3_600_000 })
  for (const { topic, partition, offset } of await admin.offsets.list('reports')) {
    console.log(`reports continues at ${topic}[${partition}] ${offset}`)
  }
  await admin.groups.delete(['reports'])
} finally {
  await kafka.close()
}
