import { createClient, KafkaError } from 'busbar/kafka/client'

const brokers = process.env['KAFKA_BROKERS']?.split(',') ?? ['localhost:9092']
const kafka = createClient({ clientId: 'ops', brokers })
const admin = kafka.admin()

try {
  for (const { groupId } of await admin.groups.list()) {
    const { type, state, members } = await admin.groups.describe(groupId)
    console.log(`${groupId}: ${state}, members: ${members.length}`)
    if (type === 'share') continue
    for (const { topic, partition, offset } of await admin.offsets.list(groupId)) {
      const ends = await admin.records.offsets(topic, 'latest')
      const end = ends.find((each) => each.partition === partition)?.offset ?? offset
      console.log(`  ${topic}[${partition}] is at ${offset}, ${end - offset} behind`)
    }
  }

  // The group begins again with what is still there. Its consumers must be stopped.
  try {
    await admin.offsets.reset('reports', ['orders'], 'earliest')
  } catch (error) {
    if (!(error instanceof KafkaError) || error.code !== 'NON_EMPTY_GROUP') throw error
    console.log('stop the consumers of reports first')
  }
} finally {
  await kafka.close()
}
