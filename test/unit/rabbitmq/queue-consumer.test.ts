import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { tmpdir } from 'node:os'
import type { Channel, ConsumeMessage } from 'amqplib'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { LiveConnection } from '../../../src/transports/rabbitmq/connection/live-connection.ts'
import { BodyBudget } from '../../../src/transports/rabbitmq/consume/body-budget.ts'
import { RabbitMqDelivery } from '../../../src/transports/rabbitmq/consume/delivery.ts'
import { turn } from '../core/stage.ts'
import { encoded } from '../core/stub-transport.ts'
import { QueueConsumer } from '../../../src/transports/rabbitmq/consume/queue-consumer.ts'

const BYTES = 100

/** A consumer on a channel whose broker is the test, and what that channel was asked to do. */
async function consuming({
  noAck = false,
  bodies = new BodyBudget(1_000, tmpdir(), manualClock(), { hasRoom: () => undefined, failed: assert.fail }),
} = {}): Promise<{
  readonly reader: QueueConsumer
  readonly calls: string[]
  /** The consumer skips the message unless it is wanted. */
  readonly deliver: (deliveryTag: number, isWanted?: boolean) => void
  /** Ends the channel; returns the tags of what the broker may not know to be done. */
  readonly lose: () => readonly number[]
}> {
  const calls: string[] = []
  const unwanted = new Set<number>()
  const unheardTags: number[] = []
  let end: (error: Error) => void = () => undefined
  let receive: (message: ConsumeMessage) => void = () => undefined
  const channel = Object.assign(new EventEmitter(), {
    prefetch: async (count: number) => void calls.push(`prefetch ${count}`),
    consume: async (_queue: string, onMessage: typeof receive) => {
      receive = onMessage
      calls.push('consume')
      return { consumerTag: 'c' }
    },
    cancel: async () => void calls.push('cancel'),
    ack: ({ fields }: ConsumeMessage, multiple: boolean) =>
      void calls.push(`ack ${multiple ? 'up to ' : ''}${fields.deliveryTag}`),
    close: async () => void calls.push('close'),
  })
  const reader = new QueueConsumer({
    clock: manualClock(),
    queue: 'q',
    prefetch: 10,
    maxHeld: 10,
    isStrict: false,
    isPerGroup: false,
    bodies,
    options: { noAck, exclusive: false, priority: undefined, consumerTag: undefined, metadata: [] },
    host: {
      admit: (from, { deliveryTag }) =>
        unwanted.has(deliveryTag)
          ? undefined
          : new RabbitMqDelivery({
              message: encoded(String(deliveryTag), { body: Buffer.alloc(BYTES, deliveryTag) }),
              reader: from,
              exchange: '',
              routingKey: '',
              deliveryTag,
              offset: undefined,
              base: 0,
              isRedelivered: false,
              count: undefined,
              firstDeliveredAt: undefined,
              bytes: BYTES,
              carried: undefined,
            }),
      activated: () => undefined,
      arrived: () => undefined,
      unreadable: assert.fail,
      lost: (_, { unheard }) => void unheardTags.push(...unheard.map(({ deliveryTag }) => deliveryTag)),
      ackTime: async () => void calls.push('time for acks'),
      consumeArguments: () => undefined,
    },
  })
  const live: Partial<LiveConnection> = {
    epoch: 1,
    channel: async (onEnd) => {
      end = onEnd as typeof end
      return channel as unknown as Channel
    },
  }
  await reader.open(live as LiveConnection)
  calls.length = 0
  return {
    reader,
    calls,
    lose: () => {
      end(new Error('lost'))
      return unheardTags
    },
    deliver: (deliveryTag, isWanted = true) => {
      if (!isWanted) unwanted.add(deliveryTag)
      const fields = { deliveryTag, redelivered: false, exchange: '', routingKey: 'q', consumerTag: 'c' }
      receive({ fields, properties: { headers: {} }, content: Buffer.from('1') } as unknown as ConsumeMessage)
    },
  }
}

test('the broker has time to process acks before the channel ends, also those of single messages', async () => {
  for (const [acked, expected] of [
    [1, 'ack up to 1'],
    [2, 'ack 2'],
  ] as const) {
    const { reader, calls, deliver } = await consuming()
    for (const tag of [1, 2]) deliver(tag)
    const taken = [reader.take(), reader.take()]
    reader.ack(taken[acked - 1] as RabbitMqDelivery)
    await reader.close()
    assert.deepEqual(calls, [expected, 'time for acks', 'prefetch 10', 'close'])
  }
})

test('a channel without an ack ends at once', async () => {
  const { reader, calls, deliver } = await consuming()
  deliver(1)
  await reader.close()
  assert.deepEqual(calls, ['close'])
})

test('nothing of skipped messages stays in memory until one is settled', async () => {
  const { reader, deliver, lose } = await consuming()
  for (let tag = 1; tag <= 100; tag++) deliver(tag, false)
  deliver(101)
  reader.ack(reader.take() as RabbitMqDelivery)
  reader.flush()
  assert.deepEqual(lose(), [101])
})

test('the broker is told of a lowered prefetch before the next consumer, and not again', async () => {
  const { reader, calls } = await consuming()
  reader.lowerPrefetch()
  for (let times = 0; times < 2; times++) {
    await reader.cancel()
    await reader.resume()
  }
  assert.deepEqual(calls, ['cancel', 'prefetch 2', 'consume', 'cancel', 'consume'])
})

test('what is held beyond the bytes is handed out in order, as far as there is room, and goes back unread', async () => {
  const bodies = new BodyBudget(2 * BYTES, tmpdir(), manualClock(), { hasRoom: () => undefined, failed: assert.fail })
  const { reader, deliver, lose } = await consuming({ bodies })
  for (let tag = 1; tag <= 6; tag++) deliver(tag)
  assert.equal(reader.bytes, 6 * BYTES)
  const taken = [reader.take(), reader.take()] as [RabbitMqDelivery, RabbitMqDelivery]
  assert.equal(reader.take(), undefined)
  reader.ack(taken[0])
  const third = reader.take()
  assert.deepEqual([third?.deliveryTag, third?.message.body], [3, Buffer.alloc(BYTES, 3)])
  assert.equal(reader.take(), undefined)
  lose()
  assert.deepEqual([reader.bytes, reader.held.length, reader.handed], [0, 0, 0])
})

test('without acks, the queues of a consumer stop at its bytes, and go on when half of them are free', async () => {
  const readers: QueueConsumer[] = []
  const bodies = new BodyBudget(4 * BYTES, undefined, manualClock(), {
    hasRoom: () => {
      for (const reader of readers) reader.hasRoom()
    },
    failed: assert.fail,
  })
  const [one, other] = [await consuming({ noAck: true, bodies }), await consuming({ noAck: true, bodies })]
  readers.push(one.reader, other.reader)
  for (let tag = 1; tag <= 3; tag++) one.deliver(tag)
  other.deliver(1)
  const ofOther = other.reader.take() as RabbitMqDelivery
  const taken = [1, 2, 3].map(() => one.reader.take() as RabbitMqDelivery)
  other.reader.ack(ofOther)
  await turn()
  assert.deepEqual([one.calls, other.calls], [['cancel'], ['cancel']])
  one.reader.ack(taken[0] as RabbitMqDelivery)
  await turn()
  assert.deepEqual([one.calls, other.calls], [['cancel'], ['cancel']])
  // The other one has nothing that could remind it.
  one.reader.ack(taken[1] as RabbitMqDelivery)
  await turn()
  assert.deepEqual(
    [one.calls, other.calls],
    [
      ['cancel', 'consume'],
      ['cancel', 'consume'],
    ],
  )
})
