import assert from 'node:assert/strict'
import type { ConsumeMessage } from 'amqplib'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import type { Delivery, SubscriptionSpec, TransportHost } from '../../../src/core/transport.ts'
import { Turns } from '../../../src/core/util/turns.ts'
import { createSubscription } from '../../../src/transports/rabbitmq/consume/create-subscription.ts'
import type { SubscribingParts } from '../../../src/transports/rabbitmq/consume/create-subscription.ts'
import type { QueueConsumer } from '../../../src/transports/rabbitmq/consume/queue-consumer.ts'
import { SharedGroup } from '../../../src/transports/rabbitmq/consume/shared-group.ts'
import type { TopicSubscription } from '../../../src/transports/rabbitmq/consume/topic-subscription.ts'
import type { MemberChannel } from '../../../src/transports/rabbitmq/partitions/member-channel.ts'
import { resolveRabbitMqOptions } from '../../../src/transports/rabbitmq/resolve-options.ts'
import { Names } from '../../../src/transports/rabbitmq/topology/names.ts'
import { turn } from '../core/stage.ts'
import { fakeSession } from './fake-channel.ts'

const QUEUE = 'busbar:~:mail'

interface Consumed {
  readonly subscription: TopicSubscription
  /** What it has been given, and not had taken back. */
  readonly received: Delivery[]
}

interface Shared {
  readonly clock: ManualClock
  readonly group: SharedGroup
  /** What it reports, and what other members are asked. */
  readonly log: string[]
  /** Topics that another member handles. */
  readonly elsewhere: Set<string>
  /** Topics that are refused. */
  readonly refused: Set<string>
  /** Topics of each call that binds. */
  readonly bound: (readonly string[])[]
  readonly consume: (topic: string, credit?: number) => Promise<Consumed>
  /** A message arrives in the queue of the group; the key says where in its topic it is. */
  readonly arrive: (topic: string, key: string, routingKey?: string) => void
  /** Topics of the group that only other members have bound. */
  readonly listed: Set<string>
  /** Topics of the stored dead letters. */
  readonly letters: string[]
  readonly readers: () => readonly QueueConsumer[]
}

/** One queue that several topics share; the test is the broker, the other member and the runtime. */
async function shared(prefetch = 10): Promise<Shared> {
  const clock = manualClock()
  const broker = fakeSession()
  const [log, letters, bound]: [string[], string[], (readonly string[])[]] = [[], [], []]
  const [elsewhere, refused, listed] = [new Set<string>(), new Set<string>(), new Set<string>()]
  const spec = (topic: string): SubscriptionSpec => ({
    topic,
    group: 'mail',
    order: 'key',
    ephemeral: false,
    from: 'latest',
    prefetch,
    prefetchBytes: 1_000_000,
    maxPerKey: 10,
    consumerId: 'member',
  })
  const group = new SharedGroup(clock, {
    group: 'mail',
    bind: async (topics) => {
      bound.push(topics)
      const found = topics.find((topic) => refused.has(topic))
      if (found !== undefined) throw new Error(`${found} is refused`)
      return topics.length
    },
    isOfGroup: (topic) => listed.has(topic) || bound.flat().includes(topic),
    full: (_queue, topics) => void log.push(`full of ${topics.join()}`),
    ended: () => void log.push('ended'),
    elsewhere: (topic) => void log.push(`${topic} is handled elsewhere`),
    nobody: (topic) => void log.push(`${topic} is handled by nobody`),
    deadLettered: ({ message }) => void log.push(`dead letter of ${message.topic}`),
    failed: (error, doing) => void log.push(`failed ${doing}: ${String(error)}`),
  })
  const members: Partial<MemberChannel> = {
    enter: () => Promise.resolve({ address: 'here', leave: () => undefined }),
    answer: () => Promise.resolve(),
    async say(_first, content) {
      const [word, , , topic] = JSON.parse(content.toString()) as string[]
      if (word !== 'find' || topic === undefined) return
      log.push(`find ${topic}`)
      if (elsewhere.has(topic)) heard?.(Buffer.from(JSON.stringify(['found', 'other', null, topic])))
    },
  }
  let heard: ((content: Buffer) => void) | undefined
  const parts: unknown = {
    options: resolveRabbitMqOptions({ queues: 'per-group', partitions: 1 }),
    names: new Names('busbar'),
    context: {
      clock,
      salt: 'salt',
      questions: new Turns(12),
      live: () => undefined,
      failed: (error: unknown) => void log.push(`failed: ${String(error)}`),
      slow: () => undefined,
      tooLarge: () => undefined,
      ended: () => Promise.resolve(),
      publisher: {
        confirmMs: 1,
        publish: async (messages: readonly { topic: string }[]) => {
          letters.push(...messages.map(({ topic }) => topic))
          return messages.map(() => ({ position: undefined }))
        },
      },
    },
    declarations: {
      group: async () => ({ queues: [QUEUE], layout: { order: 'key', partitions: 1, perGroup: true } }),
    },
    members: {
      ...members,
      enter: async (_live: unknown, _first: unknown, listener: { heard(content: Buffer): void }) => {
        heard = (content) => listener.heard(content)
        return { address: 'here', leave: () => undefined }
      },
    },
    host: { clock, name: 'main', events: { emit: () => undefined } } as unknown as TransportHost,
    control: { publishTo: () => Promise.resolve() },
    whenUp: async () => broker.live,
  }
  // With AMQP's own fields wanted, messages come by the library.
  const native = { partitions: 1, metadata: ['priority'] }
  const queues = await createSubscription({ ...spec('>'), native }, group, parts as SubscribingParts, group)
  group.begin(queues)
  let tag = 0
  return {
    clock,
    group,
    log,
    elsewhere,
    refused,
    listed,
    bound,
    letters,
    readers: () => queues.assignment.assignedQueues.map(({ reader }) => reader),
    async consume(topic, credit = 0) {
      const received: Delivery[] = []
      const drop = (deliveries: readonly Delivery[]): void => {
        for (const delivery of deliveries) received.splice(received.indexOf(delivery), 1)
      }
      const adding = group.add(spec(topic), {
        receive: (batch) => void received.push(...batch),
        lost: drop,
        recall: () => undefined,
      })
      const [subscription] = await Promise.all([adding, turn()])
      subscription.request(credit, credit * 1_000)
      await clock.advance(0)
      return { subscription, received }
    },
    arrive(topic, key, routingKey = `${topic}.~0.0`) {
      const fields = { deliveryTag: ++tag, redelivered: false, exchange: 'busbar', routingKey }
      const properties = { headers: { 'cloudEvents:partitionkey': key }, messageId: String(tag) }
      broker.consumers.get(QUEUE)?.({ fields, properties, content: Buffer.from('1') } as unknown as ConsumeMessage)
    },
  }
}

const idsOf = ({ received }: Consumed): readonly string[] => received.map(({ message }) => message.id)

test('a topic without credit leaves its messages in the queue, in order, and holds up no other', async () => {
  const { consume, arrive } = await shared()
  const [busy, idle] = [await consume('busy', 1), await consume('idle', 5)]
  for (const topic of ['busy', 'busy', 'idle', 'busy', 'idle']) arrive(topic, 'k')
  await turn()
  assert.deepEqual([idsOf(busy), idsOf(idle)], [['1'], ['3', '5']])
  busy.subscription.request(5, 5_000)
  await turn()
  assert.deepEqual(idsOf(busy), ['1', '2', '4'])
})

test('a pause of one topic is none of the others, and one of all topics ends the intake', async () => {
  const { consume, arrive, group } = await shared()
  const [one, other] = [await consume('one', 5), await consume('other', 5)]
  one.subscription.pause()
  for (const topic of ['one', 'other']) arrive(topic, 'k')
  await turn()
  assert.deepEqual([idsOf(one), idsOf(other)], [[], ['2']])
  other.subscription.pause()
  arrive('other', 'k')
  one.subscription.resume()
  await turn()
  assert.deepEqual([idsOf(one), idsOf(other)], [['1'], ['2']])
  assert.equal(group.isEnded, false)
})

test('a queue that is full of what a paused topic must take is reported once, and not while others are handled', async () => {
  const { consume, arrive, clock, log } = await shared(3)
  const paused = await consume('paused', 5)
  await consume('other', 5)
  paused.subscription.pause()
  for (const topic of ['paused', 'paused']) arrive(topic, 'k')
  await turn()
  await clock.advance(20_000)
  assert.deepEqual(log, [])
  arrive('paused', 'k')
  await turn()
  await clock.advance(60_000)
  assert.deepEqual(log, ['full of paused'])
})

test('a message whose topic another member handles waits here', async () => {
  const { consume, arrive, clock, elsewhere, log, letters } = await shared()
  await consume('known', 5)
  elsewhere.add('theirs')
  arrive('theirs', 'k')
  await turn()
  await clock.advance(600_000)
  assert.ok(log.filter((line) => line === 'find theirs').length > 50)
  assert.deepEqual(
    log.filter((line) => line !== 'find theirs'),
    ['theirs is handled elsewhere'],
  )
  assert.deepEqual(letters, [])
})

test('what no member handles for a minute is dead-lettered, in order, and so is what follows', async () => {
  const { consume, arrive, clock, log, letters } = await shared()
  await consume('known', 5)
  arrive('removed', 'k')
  arrive('removed', 'k')
  await turn()
  await clock.advance(60_000)
  assert.deepEqual(letters, [])
  await clock.advance(8_000)
  assert.deepEqual(letters, ['removed.mail.dlq', 'removed.mail.dlq'])
  arrive('removed', 'k')
  await turn()
  await clock.advance(6_000)
  assert.equal(letters.length, 3)
  assert.deepEqual(
    log.filter((line) => !line.startsWith('find')),
    ['removed is handled by nobody', ...Array.from({ length: 3 }, () => 'dead letter of removed')],
  )
})

test('a message whose topic this process consumes a moment later is handled', async () => {
  const { consume, arrive, clock, letters } = await shared()
  await consume('known', 5)
  arrive('late', 'k')
  await turn()
  const late = await consume('late', 5)
  await turn()
  assert.deepEqual(idsOf(late), ['1'])
  await clock.advance(600_000)
  assert.deepEqual(letters, [])
})

test('what a closed topic had comes again, and the group ends with its last topic', async () => {
  const { consume, arrive, log } = await shared()
  const [closed, other] = [await consume('closed', 5), await consume('other', 5)]
  arrive('closed', 'k')
  arrive('other', 'k')
  await turn()
  assert.deepEqual([idsOf(closed), idsOf(other)], [['1'], ['2']])
  await closed.subscription.close()
  const again = await consume('closed', 5)
  await turn()
  assert.deepEqual(idsOf(again), ['1'])
  assert.equal(again.received[0]?.attempt, 1)
  await Promise.all([again.subscription.close(), other.subscription.close()])
  assert.deepEqual(log, ['ended'])
})

test('topics of one turn are bound together, and one that is refused does not keep the others', async () => {
  const { group, consume, refused, bound } = await shared()
  refused.add('b')
  const results = await Promise.allSettled(['a', 'b', 'c'].map((topic) => consume(topic)))
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  )
  assert.deepEqual(bound, [['a', 'b', 'c'], ['a'], ['b'], ['c']])
  assert.deepEqual(
    group.specs.map(({ topic }) => topic),
    ['a', 'c'],
  )
})

test('what waits for other topics is not reported as lag of one', async () => {
  const { consume, arrive } = await shared()
  const [one, other] = [await consume('one', 5), await consume('other')]
  arrive('other', 'k')
  await turn()
  assert.equal(await one.subscription.readyHere(), 0)
  assert.equal(await other.subscription.readyHere(), 1)
})

test('a message that waits for its retry does not count for the same key of another topic', async () => {
  const { consume, arrive, clock, readers } = await shared()
  const [waiting, running] = [await consume('waiting', 5), await consume('running', 5)]
  arrive('waiting', 'k')
  arrive('running', 'k')
  await turn()
  const [delivery] = waiting.received as [Delivery]
  await waiting.subscription.noteAttempts([{ delivery, used: 1, running: false, notBefore: clock.now() + 60_000 }])
  const [reader] = readers()
  assert.equal(reader?.isAllWaiting(clock.now()), false)
  assert.equal(running.received.length, 1)
  arrive('waiting', 'k')
  await running.subscription.settle([{ delivery: running.received[0] as Delivery, outcome: { type: 'ack' } }])
  await turn()
  assert.equal(waiting.received.length, 2)
  assert.equal(reader.isAllWaiting(clock.now()), true)
})

test('what is published without a bucket is dropped only when its topic is not of the group', async () => {
  const { consume, arrive, listed, readers } = await shared()
  await consume('orders', 5)
  const drained = await consume('orders.eu.created', 5)
  await drained.subscription.drain()
  listed.add('orders.eu.paid')
  for (const topic of ['orders.eu.created', 'orders.eu.paid', 'orders.eu.other']) arrive(topic, 'k', topic)
  await turn()
  assert.deepEqual(
    readers().flatMap(({ held }) => [...held].map(({ message }) => message.topic)),
    ['orders.eu.created', 'orders.eu.paid'],
  )
})
