import { AckPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { startConsumers } from '../footprint/consumer-process.ts'

// What the plain client needs for the same: one stream, and a durable consumer for each subject and group.
await startConsumers(async ({ url, topics, groups }) => {
  const connection = await connect({ servers: [url] })
  const manager = await jetstreamManager(connection)
  const stream = 'footprint'
  await manager.streams.add({ name: stream, subjects: ['footprint.>'] })
  for (let group = 0; group < groups; group++)
    for (let topic = 0; topic < topics; topic++) {
      const name = `g${group}-t${topic}`
      await manager.consumers.add(stream, {
        durable_name: name,
        filter_subject: `footprint.t${topic}`,
        ack_policy: AckPolicy.Explicit,
      })
      const consumer = await jetstream(connection).consumers.get(stream, name)
      await consumer.consume({ callback: (message) => message.ack() })
    }
})
