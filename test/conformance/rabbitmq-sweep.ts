import amqp from 'amqplib'
import type { ForeignClient } from 'busbar/testing'
import type { RabbitMqBroker } from '../../tools/brokers/index.ts'

/**
 * Deletes all groups with their messages and dead letters. A run of the suite makes thousands of queues, and a broker takes
 * long to start with them. Not after each scenario: listing the queues starts an Erlang VM, a second of a core.
 */
export async function sweep(broker: RabbitMqBroker): Promise<void> {
  const names = (await broker.ctl('-q', 'list_queues', 'name')).split('\n').map((name) => name.trim())
  const connection = await amqp.connect(broker.url)
  const channel = await connection.createChannel()
  channel.on('error', () => undefined)
  for (const name of names) if (name.startsWith('busbar:')) await channel.deleteQueue(name)
  // Where all topics of a group share its queues, each group has an exchange with a binding for each topic.
  for (const name of names)
    if (/^busbar:~:[^:]+$/.test(name))
      for (const exchange of [`${name}:spread`, `${name}:spread.rest`]) await channel.deleteExchange(exchange)
  await connection.close()
}

/** amqplib as anybody would use it. */
export function plainClient(url: string): ForeignClient {
  return {
    async publish(topic, body, headers) {
      const connection = await amqp.connect(url)
      const channel = await connection.createConfirmChannel()
      channel.publish('busbar', topic, Buffer.from(body), { headers })
      await channel.waitForConfirms()
      await connection.close()
    },
  }
}
