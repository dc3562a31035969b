import assert from 'node:assert/strict'
import type { ConsumeMessage } from 'amqplib'
import { test } from 'vitest'
import type { RabbitMqConsumerOptions } from '../../../src/transports/rabbitmq/consume/consumer-options.ts'
import { aheadLimit, shareOf } from '../../../src/transports/rabbitmq/consume/queue-share.ts'
import { QUEUE, subscribed } from './fake-subscription.ts'

const ACKS = { noAck: false, prefetch: undefined, maxBuffered: 1_000 } as const
/** Four of them, with what belongs to each, fit into `prefetchBytes` of the subscription. */
const BODY = Buffer.alloc(300)

/** The warning after ten messages came to one queue, while the runtime had credit for three. */
async function warningOf(native: RabbitMqConsumerOptions, partitions = 1, owned = partitions): Promise<string> {
  // With AMQP's own fields wanted, messages come by the library.
  const { clock, broker, subscription, assignment, warnings } = await subscribed(
    { metadata: ['priority'], ...native },
    partitions,
  )
  subscription.request(3, 1_000_000)
  await clock.advance(0)
  assert.equal(broker.consumers.size, partitions)
  for (const assigned of assignment.assignedQueues.slice(owned)) assigned.standsByFor = 'other'
  for (let deliveryTag = 1; deliveryTag <= 10; deliveryTag++) {
    const fields = { deliveryTag, redelivered: false, exchange: '', routingKey: 'orders', consumerTag: QUEUE }
    const properties = { headers: {}, messageId: String(deliveryTag) }
    broker.consumers.get(QUEUE)?.({ fields, properties, content: BODY } as unknown as ConsumeMessage)
  }
  await clock.advance(0)
  assert.equal(warnings.length, 1)
  return warnings[0] ?? ''
}

test('the warning about large messages names the option that limits them', async () => {
  assert.match(await warningOf({}), /Set prefetch of the consumer to 4, or raise prefetchBytes\./)
  assert.match(await warningOf({ prefetch: 20 }), /Set native\.prefetch of the consumer to 4, or/)
  // The runtime has three of the four that fit.
  assert.match(await warningOf({ noAck: true, maxBuffered: 2 }), /Set native\.maxBuffered of the consumer to 1, or/)
})

test('where no value would be low enough, the warning about large messages says so', async () => {
  const remedy = /: RabbitMQ counts what it sends ahead in messages\. Raise prefetchBytes, or use fewer partitions\./
  // More were on their way when the limit was reached.
  assert.match(await warningOf({ noAck: true, maxBuffered: 1 }), remedy)
  assert.match(await warningOf({}, 8), remedy)
  assert.match(await warningOf({ prefetch: 20 }, 8), remedy)
})

test('queues that the member only stands by on do not count for the advice about large messages', async () => {
  assert.match(await warningOf({ prefetch: 20 }, 8, 1), /Set native\.prefetch of the consumer to 4, or/)
})

test('the advised prefetch is the largest with which the queues that are read take no more than fits', () => {
  for (const queues of [1, 2, 8, 32])
    for (const reading of [1, 2, 5, queues].filter((count) => count <= queues))
      for (let fitting = 0; fitting < 200; fitting++) {
        const { value = 0 } = aheadLimit(ACKS, { handed: 0, fitting, queues, reading }) ?? {}
        if (value > 0) assert.ok(reading * shareOf(value, queues) <= fitting, `${value} for ${fitting}`)
        assert.ok(reading * shareOf(value + 1, queues) > fitting, `${value + 1} for ${fitting}`)
      }
})

test('with 2 of 8 queues and room for 16 messages, a prefetch of 56 is advised', () => {
  const here = { handed: 3, fitting: 16, queues: 8, reading: 2 }
  assert.deepEqual(aheadLimit(ACKS, here), { option: 'prefetch', value: 56 })
  assert.deepEqual(aheadLimit({ ...ACKS, prefetch: 50 }, here), { option: 'native.prefetch', value: 8 })
})

test('without acks the runtime has its messages besides those that wait', () => {
  const options = { ...ACKS, noAck: true, maxBuffered: 100 }
  const here = { handed: 10, fitting: 60, queues: 1, reading: 1 }
  assert.deepEqual(aheadLimit(options, here), { option: 'native.maxBuffered', value: 50 })
  assert.equal(aheadLimit({ ...options, maxBuffered: 50 }, here), undefined)
  assert.equal(aheadLimit(options, { ...here, fitting: 10 }), undefined)
})
