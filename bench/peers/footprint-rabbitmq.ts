import { connect } from 'amqplib'
import type { ChannelModel } from 'amqplib'
import { allHandled } from '../footprint/all-handled.ts'
import { startConsumers } from '../footprint/consumer-process.ts'

// What the plain client needs for the same: a topic exchange, and a quorum queue for each topic and group, which each member
// consumes with a channel. A connection has 2,047 channels at most.

const CHANNELS = 2_000

await startConsumers(async ({ url, topics, groups, members, keys }) => {
  const handled = allHandled(topics * groups * keys)
  let connection: ChannelModel | undefined
  for (let member = 0; member < members; member++) {
    connection = await connect(url)
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
        await channel.consume(queue, (message) => {
          if (message === null) return
          channel.ack(message)
          handled.one()
        })
      }
  }
  if (keys === 0 || connection === undefined) return
  const channel = await connection.createConfirmChannel()
  for (let topic = 0; topic < topics; topic++) {
    for (let key = 0; key < keys; key++)
      channel.publish('footprint', `footprint.t${topic}`, Buffer.from('{}'), { persistent: true })
    await channel.waitForConfirms()
  }
  await handled.all
})
