import assert from 'node:assert/strict'
import { test } from 'vitest'
import { Consumers } from '../../../src/transports/nats/consumers.ts'
import type { ConsumersParts } from '../../../src/transports/nats/consumers.ts'
import { JetStreamError } from '../../../src/transports/nats/errors.ts'
import type { Lane } from '../../../src/transports/nats/lane.ts'

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
  } as unknown as ConsumersParts
  const lanes = ['refused', 'slow'].map(
    (consumer) => ({ stream: 's', consumer, plan: { filter: 'f' }, adopt: () => undefined }) as unknown as Lane,
  )
  const prepared = new Consumers(parts).prepare(lanes)
  const refused = assert.rejects(prepared, /no room/)
  setImmediate(() => slow.resolve(undefined))
  await refused
  await slow.promise
  await new Promise((resolve) => {
    setImmediate(resolve)
  })
  assert.deepEqual([...existing], [])
})

test('a stream that another member has made again is known as another one when its consumer is', async () => {
  let known = 'first'
  const parts = {
    api: { consumerInfo: () => Promise.resolve({ created: '2026-01-02T00:00:00', config: {}, ack_floor: {} }) },
    topology: { identityOf: () => known, ensure: () => Promise.resolve(void (known = 'second')) },
  } as unknown as ConsumersParts
  const adopted: unknown[] = []
  const lane = {
    stream: 's',
    consumer: 'c',
    identity: '2026-01-01T00:00:00',
    streamIdentity: 'first',
    adopt: (...[, , stream]: unknown[]) => void adopted.push(stream),
  } as unknown as Lane
  const { isOther, streamGone } = await new Consumers(parts).check(lane, true)
  assert.deepEqual([isOther, streamGone, adopted], [true, true, ['second']])
})
