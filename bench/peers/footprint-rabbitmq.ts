import { connect } from 'amqplib'
import { startConsumers } from '../footprint/consumer-process.ts'

// What the plain client needs for the same: a topic exchange, and a quorum queue with a channel for each topic and group. A
// connection has 2,047 channels at most.

const CHANNELS = 2_000

await startConsumers(async ({ url, topics, groups }) => {
  let connection = await connect(url)
  let channels = 0
  for (let group = 0; group < groups; group++)
    for (let topic = 0; topic < topics; topic++) {
      if (++channels > CHANNELS) {
        connection = await connect(url)
        channels = 1
      }
      const channel = await connection.createChannel()
      const queue = `footprint.t${topic}.g${group}`
      await channel.assertExchange('footprint', 'topic')
      await channel.assertQueue(queue, { arguments: { 'x-queue-type': 'quorum' } })
      await channel.bindQueue(queue, 'footprint', `footprint.t${topic}`)
      await channel.prefetch(100)
      await channel.consume(queue, () => {})
    }
})
