import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import { StateError } from '../../../src/core/errors.ts'
import type { SubscriptionSpec } from '../../../src/core/transport.ts'
import { SharedGroups } from '../../../src/transports/rabbitmq/consume/shared-groups.ts'

type Host = ConstructorParameters<typeof SharedGroups>[0]

/** More than a subscribe needs to ask. Without a limit, one that never ends would not let the test end either. */
const MANY = 50

const sink = { receive: () => undefined, lost: () => undefined, recall: () => undefined }
const isClosed = { name: StateError.name, message: 'The RabbitMQ transport is closed' }

function made() {
  const clock = manualClock()
  /** The queues of a new group are declared after this. */
  let declared = Promise.resolve()
  let begun = 0
  const host: unknown = {
    clock,
    options: { queues: 'per-group', partitions: 1 },
    declarations: { topicsOfGroup: async () => 1 },
    reports: { ofSharedGroup: () => ({ group: 'mail' }) },
    whenUp: async () => ({ isOpen: true }),
    subscribe: async () => {
      begun++
      await declared
      return {
        nature: { partitions: 1 },
        raisePrefetch: () => undefined,
        close: async () => undefined,
        handed: () => [],
        waiting: () => 0,
        assignment: { topicsChanged: () => undefined, assignedQueues: [] },
      }
    },
  }
  const groups = new SharedGroups(host as Host)
  let asked = 0
  const spec = (topic: string): SubscriptionSpec => ({
    topic,
    get group() {
      if (++asked > MANY) throw new Error('asks for its group again and again')
      return 'mail'
    },
    order: 'key',
    ephemeral: false,
    from: 'latest',
    prefetch: 10,
    prefetchBytes: 1_000,
    maxPerKey: 10,
    consumerId: 'member',
  })
  return {
    groups,
    begun: () => begun,
    declare: (declaring: Promise<void>) => {
      declared = declaring
    },
    subscribe: (topic: string) => groups.subscribe(spec(topic), sink),
  }
}

test('a topic that comes after the close of the transport is refused', async () => {
  const { groups, subscribe, begun } = made()
  await subscribe('one')
  await groups.close()
  await assert.rejects(subscribe('other'), isClosed)
  assert.equal(begun(), 1)
})

test('a topic whose group is still being declared at the close of the transport is refused', async () => {
  const { groups, subscribe, declare } = made()
  const declaring = Promise.withResolvers<void>()
  declare(declaring.promise)
  const refused = assert.rejects(subscribe('one'), isClosed)
  const closed = groups.close()
  declaring.resolve()
  await Promise.all([refused, closed])
})
