import assert from 'node:assert/strict'
import { test } from 'vitest'
import type { ConsumeMessage } from 'amqplib'
import { IncomingMessage } from '../../../src/transports/rabbitmq/wire/incoming-message.ts'
import { readMessage } from '../../../src/transports/rabbitmq/wire/read-message.ts'
import { subscribed } from './fake-subscription.ts'

const COUNTS = [
  ['RabbitMQ 4.3 counts what it hands out apart from what failed', { 'x-acquired-count': 3, 'x-delivery-count': 0 }, 3],
  ['earlier versions have one count', { 'x-delivery-count': 2 }, 2],
  ['a classic queue has none', {}, undefined],
] as const

for (const [title, headers, count] of COUNTS)
  test(`earlier deliveries of a message: ${title}`, async () => {
    const { subscription } = await subscribed()
    const message = {
      fields: { deliveryTag: 1, redelivered: true, exchange: 'busbar', routingKey: 'orders' },
      properties: { messageId: 'm', headers },
      content: Buffer.from('{}'),
    }
    const arrival = readMessage(new IncomingMessage(), message as unknown as ConsumeMessage)
    const reader = subscription.assignment.assignedQueues[0]?.reader
    assert.ok(reader !== undefined)
    assert.equal(subscription.admit(reader, arrival)?.count, count)
    await subscription.close()
  })
