import amqp from 'amqplib'
import type { ForeignClient } from 'busbar/testing'

/**
 * Deletes all groups with their messages and dead letters, as they stand in the registry. A run of the suite makes
 * thousands of queues, and a broker takes long to start with them.
 */
export async function sweep(url: string): Promise<void> {
  const connection = await amqp.connect(url)
  const channel = await connection.createChannel()
  channel.on('error', () => undefined)
  for (;;) {
    // Rejects before the first group is declared: nothing to do.
    const record = await channel.get('busbar.registry', { noAck: true }).catch(() => false as const)
    if (record === false) break
    const { topic, group, layout } = JSON.parse(record.content.toString()) as Record<
      'topic' | 'group' | 'layout',
      string
    >
    const name = `busbar:${topic}:${group}`
    const partitions = Array.from({ length: Number(/\d+$/.exec(layout)?.[0] ?? 0) }, (_, index) => `${name}:${index}`)
    for (const queue of [name, `${name}:notes`, `busbar:${topic}.${group}.dlq`, ...partitions])
      await channel.deleteQueue(queue)
    for (const exchange of [name, `${name}:${layout}`, `${name}:members`]) await channel.deleteExchange(exchange)
  }
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
