import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import { SharedConsumers } from '../../../src/transports/nats/jetstream/shared/shared-consumers.ts'
import type { PullConsumer } from '../../../src/transports/nats/jetstream/shared/pull-consumer.ts'
import type { SharedConsumersHost } from '../../../src/transports/nats/jetstream/shared/shared-consumers.ts'
import type { SubscriptionParts } from '../../../src/transports/nats/jetstream/subscription-parts.ts'

/** All promises that are about to settle have. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

interface Setup {
  readonly clock?: ManualClock
  readonly topology?: object
  readonly consumerInfo: () => Promise<object>
}

function sharedConsumers({ clock = manualClock(), topology = {}, consumerInfo }: Setup): {
  readonly shared: SharedConsumers
  readonly consumer: PullConsumer
  readonly troubles: (string | undefined)[]
} {
  const troubles: (string | undefined)[] = []
  const session = {
    ready: true,
    readers: 0,
    options: { leaseMs: 1_000, native: {} },
    host: { clock },
    connection: { isClosed: () => false },
    isOlderThan: () => false,
    inbox: () => 'inbox',
    subscribe: () => ({ unsubscribe: () => undefined }),
    writeBuffer: { publish: () => undefined },
    error: () => undefined,
  }
  const records = { moveSubject: () => 'move', read: () => Promise.resolve(undefined) }
  const shared = new SharedConsumers({
    parts: { session, api: { consumerInfo }, topology, records } as unknown as SubscriptionParts,
    spec: { topic: 't', group: 'g' },
    groupId: 'g--0',
    stream: 's',
    plans: [{ label: 'any', filter: 'busbar.any.t', dead: false }],
    metadata: undefined,
    wake: () => undefined,
    trouble: (_: object, detail: string | undefined) => void troubles.push(detail),
  } as unknown as SharedConsumersHost)
  const [consumer] = shared.all
  assert.ok(consumer !== undefined)
  consumer.identity = '#0123456789ab'
  return { shared, consumer, troubles }
}

test('a consumer that is missed while it is looked for is looked for once more, when that has ended', async () => {
  const looks: PromiseWithResolvers<object>[] = []
  const { shared, consumer, troubles } = sharedConsumers({
    consumerInfo: () => {
      const look = Promise.withResolvers<object>()
      looks.push(look)
      return look.promise
    },
  })
  shared.consumerMissing(consumer)
  // As after a move of the group, which the first look may have been too early for.
  const found = shared.findAll()
  shared.consumerMissing(consumer)
  assert.equal(looks.length, 1)
  looks[0]?.reject(new Error('too early'))
  await settled()
  assert.equal(looks.length, 2)
  looks[1]?.resolve({ created: '', config: { description: '#0123456789ab' } })
  await found
  assert.match(troubles[0] ?? '', /too early/)
  assert.deepEqual(troubles.slice(1), [undefined])
  assert.equal(looks.length, 2)
})

test('a check that fails after it has found another consumer is repeated', async () => {
  const clock = manualClock()
  const failures = ['a limit of the stream is too low']
  const { shared, consumer, troubles } = sharedConsumers({
    clock,
    consumerInfo: () =>
      Promise.resolve({ config: { description: '#ba9876543210' }, ack_floor: { stream_seq: 7 }, num_waiting: 0 }),
    topology: {
      ensure: () => {
        const failure = failures.pop()
        return failure === undefined ? Promise.resolve() : Promise.reject(new Error(failure))
      },
      identityOf: () => '#stream',
    },
  })
  consumer.streamIdentity = '#stream'
  shared.consumerMissing(consumer)
  await settled()
  assert.match(troubles.at(-1) ?? '', /a limit of the stream is too low/)
  assert.equal(consumer.unchecked, true)
  await clock.advance(1_000)
  await settled()
  assert.equal(troubles.at(-1), undefined)
  assert.equal(consumer.unchecked, false)
  assert.equal(consumer.identity, '#ba9876543210')
})
