import { AckPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { allHandled } from '../footprint/all-handled.ts'
import { startConsumers } from '../footprint/consumer-process.ts'

const STREAM = 'footprint'
/** By default, servers from 2.15 on allow 1,000. */
const MAX_CONSUMERS = 100_000

// What the plain client needs for the same: one stream, and a durable consumer for each subject and group, from which each
// member pulls.
await startConsumers(async ({ url, topics, groups, members, keys }) => {
  const connection = await connect({ servers: [url] })
  const manager = await jetstreamManager(connection)
  await manager.streams.add({ name: STREAM, subjects: ['footprint.>'], max_consumers: MAX_CONSUMERS })
  const handled = allHandled(topics * groups * keys)
  for (let group = 0; group < groups; group++)
    for (let topic = 0; topic < topics; topic++)
      await manager.consumers.add(STREAM, {
        durable_name: `g${group}-t${topic}`,
        filter_subject: `footprint.t${topic}`,
        ack_policy: AckPolicy.Explicit,
      })
  for (let member = 0; member < members; member++) {
    const own = member === 0 ? connection : await connect({ servers: [url] })
    for (let group = 0; group < groups; group++)
      for (let topic = 0; topic < topics; topic++) {
        const consumer = await jetstream(own).consumers.get(STREAM, `g${group}-t${topic}`)
        await consumer.consume({
          callback(message) {
            message.ack()
            handled.one()
          },
        })
      }
  }
  for (let topic = 0; topic < topics; topic++)
    for (let key = 0; key < keys; key++) await jetstream(connection).publish(`footprint.t${topic}`, '{}')
  await handled.all
})
