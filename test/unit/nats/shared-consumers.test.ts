import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import { SharedConsumers } from '../../../src/transports/nats/jetstream/shared/shared-consumers.ts'
import type { SharedConsumersHost } from '../../../src/transports/nats/jetstream/shared/shared-consumers.ts'
import type { SubscriptionParts } from '../../../src/transports/nats/jetstream/subscription-parts.ts'

/** All promises that are about to settle have. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

test('a consumer that is missed twice is looked for once: a late failure must not outlive a success', async () => {
  const looks: PromiseWithResolvers<object>[] = []
  const troubles: (string | undefined)[] = []
  const session = {
    ready: true,
    options: { leaseMs: 1_000, native: {} },
    host: { clock: manualClock() },
    connection: { isClosed: () => false },
    isOlderThan: () => false,
    inbox: () => 'inbox',
    subscribe: () => ({ unsubscribe: () => undefined }),
    outbox: { publish: () => undefined },
    error: () => undefined,
  }
  const api = {
    consumerInfo: () => {
      const look = Promise.withResolvers<object>()
      looks.push(look)
      return look.promise
    },
  }
  const shared = new SharedConsumers({
    parts: { session, api, topology: {}, records: {} } as unknown as SubscriptionParts,
    spec: { topic: 't', group: 'g' },
    groupId: 'g--0',
    stream: 's',
    plans: [{ label: 'any', filter: 'busbar.any.t', dead: false }],
    metadata: undefined,
    wake: () => undefined,
    trouble: (_: object, detail: string | undefined) => void troubles.push(detail),
  } as unknown as SharedConsumersHost)
  const [lane] = shared.all
  assert.ok(lane !== undefined)
  lane.identity = '#0123456789ab'
  shared.consumerMissing(lane)
  shared.consumerMissing(lane)
  looks.at(-1)?.resolve({ created: '', config: { description: '#0123456789ab' } })
  await settled()
  for (const look of looks) look.reject(new Error('late'))
  await settled()
  assert.deepEqual(troubles, [undefined])
  shared.consumerMissing(lane)
  assert.equal(looks.length, 2)
})
