import assert from 'node:assert/strict'
import { test } from 'vitest'
import { DurableConsumers } from '../../../src/transports/nats/jetstream/shared/durable-consumers.ts'
import type { DurableConsumersParts } from '../../../src/transports/nats/jetstream/shared/durable-consumers.ts'
import type { ConsumerConfig } from '../../../src/transports/nats/jetstream/server/jetstream-types.ts'
import { JetStreamError } from '../../../src/transports/nats/errors.ts'
import type { PullConsumer } from '../../../src/transports/nats/jetstream/shared/pull-consumer.ts'

test('a group that can not be made as a whole leaves nothing behind, also of what was still being made', async () => {
  const existing = new Set<string>()
  const slow = Promise.withResolvers<undefined>()
  const api = {
    consumerInfo: () => Promise.reject(new JetStreamError('Looking', 404, 10_014, 'not found')),
    createConsumer: async (_stream: string, name: string) => {
      if (name === 'refused') throw new JetStreamError('Creating', 503, 0, 'no room')
      await slow.promise
      existing.add(name)
      return { created: '', config: {}, ack_floor: {} }
    },
    deleteConsumer: (_stream: string, name: string) => Promise.resolve(existing.delete(name)),
  }
  const parts = {
    api,
    session: { options: { native: {} } },
    topology: { identityOf: () => 'identity' },
    spec: { ephemeral: true, topic: 'orders', group: 'g', from: 'latest' },
    ackWaitMs: 1_000,
    start: () => 'latest',
  } as unknown as DurableConsumersParts
  const consumers = ['refused', 'slow'].map(
    (name) => ({ stream: 's', name, plan: { filter: 'f' }, adopt: () => undefined }) as unknown as PullConsumer,
  )
  const prepared = new DurableConsumers(parts).prepare(consumers, false)
  const refused = assert.rejects(prepared, /no room/)
  setImmediate(() => slow.resolve(undefined))
  await refused
  await slow.promise
  await new Promise((resolve) => {
    setImmediate(resolve)
  })
  assert.deepEqual([...existing], [])
})

test('a stream that another member has created again is recognized when its consumer is another one', async () => {
  let known = 'first'
  const parts = {
    api: { consumerInfo: () => Promise.resolve({ created: '2026-01-02T00:00:00', config: {}, ack_floor: {} }) },
    records: { moveSubject: () => 'move', read: () => Promise.resolve(undefined) },
    topology: { identityOf: () => known, ensure: () => Promise.resolve(void (known = 'second')) },
    spec: {},
  } as unknown as DurableConsumersParts
  const adopted: unknown[] = []
  const consumer = {
    stream: 's',
    name: 'c',
    identity: '2026-01-01T00:00:00',
    streamIdentity: 'first',
    adopt: (...[, , stream]: unknown[]) => void adopted.push(stream),
  } as unknown as PullConsumer
  const { isOther, streamGone } = await new DurableConsumers(parts).check(consumer)
  assert.deepEqual([isOther, streamGone, adopted], [true, true, ['second']])
})

/** A group of one consumer, which the server has at the given places one after the other. */
class Moving {
  /** Where the consumer on the server begins; undefined while there is none. */
  start: string | number | undefined = 'all'
  /** Where the member wanted it to begin, each time. */
  readonly asked: (string | number)[] = []
  warnings = 0
  mark: { seq: number; text: string } | undefined
  readonly consumers: DurableConsumers
  readonly consumer: PullConsumer
  #made = 0

  constructor() {
    const parts = {
      api: {
        consumerInfo: async () => {
          await Promise.resolve()
          if (this.start === undefined) throw new JetStreamError('Looking', 404, 10_014, 'not found')
          return this.#info()
        },
        createConsumer: async (_stream: string, _name: string, config: ConsumerConfig) => {
          await Promise.resolve()
          const start = config.opt_start_seq ?? config.deliver_policy
          this.asked.push(start)
          if (this.start !== undefined) throw new JetStreamError('Creating', 400, 10_148, 'exists')
          this.place(start)
          return this.#info()
        },
      },
      records: { moveSubject: () => 'move', read: () => Promise.resolve(this.mark) },
      topology: { identityOf: () => 'stream', ensure: () => Promise.resolve() },
      session: { options: { native: {} }, warning: () => void this.warnings++ },
      spec: { topic: 'orders', group: 'g', from: 'latest' },
      ackWaitMs: 1_000,
    } as unknown as DurableConsumersParts
    this.consumers = new DurableConsumers(parts)
    this.consumer = {
      stream: 's',
      name: 'c',
      identity: '',
      streamIdentity: 'stream',
      floor: 41,
      plan: { filter: 'f' },
      adopt: (_: unknown, identity: string) => void (this.consumer.identity = identity),
    } as unknown as PullConsumer
  }

  /** The server has a new consumer that begins there. */
  place(start: string | number): void {
    this.start = start
    this.#made++
  }

  #info(): object {
    return { created: String(this.#made), config: {}, ack_floor: { stream_seq: 41 } }
  }
}

test('of two checks of a consumer at once neither creates the consumer of a moved group where the group was', async () => {
  const group = new Moving()
  await group.consumers.check(group.consumer)
  group.mark = { seq: 1, text: '{"at":"earliest"}' }
  group.start = undefined
  await Promise.all([group.consumers.check(group.consumer), group.consumers.check(group.consumer)])
  assert.deepEqual(group.asked, ['all', 'all'])
  // A seek is nothing to warn of.
  assert.equal(group.warnings, 0)
})

test('a group that adopted the consumer of a move continues from where it is when that one is deleted', async () => {
  const group = new Moving()
  await group.consumers.check(group.consumer)
  group.mark = { seq: 1, text: '{"at":"latest"}' }
  group.place('new')
  await group.consumers.check(group.consumer)
  group.start = undefined
  await group.consumers.check(group.consumer)
  assert.deepEqual(group.asked, [42])
  assert.equal(group.warnings, 1)
})
