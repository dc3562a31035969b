import assert from 'node:assert/strict'
import { test } from 'vitest'
import { silentLogger } from 'busbar'
import { manualClock } from 'busbar/testing'
import { BusEvents } from '../../../src/core/events.ts'
import type { SubscriptionSpec, TransportHost } from '../../../src/core/transport.ts'
import type { Declarations } from '../../../src/transports/rabbitmq/declarations.ts'
import { Names } from '../../../src/transports/rabbitmq/names.ts'
import { resolveRabbitMqOptions } from '../../../src/transports/rabbitmq/options.ts'
import { createSubscription } from '../../../src/transports/rabbitmq/subscribing.ts'
import type { SubscribingParts } from '../../../src/transports/rabbitmq/subscribing.ts'
import type { SubscriptionContext } from '../../../src/transports/rabbitmq/subscription-context.ts'
import { fakeSession } from './fake-channel.ts'

const LAYOUT = { order: 'none', partitions: 1 } as const
const SPEC: SubscriptionSpec = {
  topic: 'orders',
  group: 'mail',
  order: 'none',
  ephemeral: false,
  from: 'latest',
  prefetch: 10,
  prefetchBytes: 1_000,
  maxPerKey: 1,
  consumerId: 'member',
}
const QUEUE = 'busbar:orders:mail'

async function subscribed() {
  const clock = manualClock()
  const broker = fakeSession()
  const events = new BusEvents(silentLogger)
  const losses: string[] = []
  events.on('loss', ({ reason }) => void losses.push(reason))
  /** What each declaration of the group does; without an entry it succeeds. */
  const declarations: (() => void)[] = []
  const context: Partial<SubscriptionContext> = { clock, failed: () => undefined }
  const parts: Partial<SubscribingParts> = {
    options: resolveRabbitMqOptions({}),
    names: new Names('busbar'),
    context: context as SubscriptionContext,
    declarations: {
      group: async () => {
        declarations.shift()?.()
        return { queues: [QUEUE], layout: LAYOUT, drifts: [] }
      },
      notes: () => Promise.resolve(),
    } as Partial<Declarations> as Declarations,
    host: { clock, events, name: 'main' } as Partial<TransportHost> as TransportHost,
    whenUp: async () => broker.session,
  }
  const { intake } = await createSubscription(SPEC, { receive: () => undefined, lost: () => undefined }, {
    ...parts,
  } as SubscribingParts)
  return { clock, broker, intake, losses, declarations }
}

test('a deleted queue is reported once, also when declaring the group again fails at first', async () => {
  const { clock, broker, intake, losses, declarations } = await subscribed()
  declarations.push(() => {
    // The queue was declared again, and what follows it failed.
    broker.missing.clear()
    throw new Error('one thing failed')
  })
  broker.missing.add(QUEUE)
  intake.redeclare(false)
  await clock.advance(0)
  assert.deepEqual(losses, [])
  await clock.advance(1_000)
  assert.equal(losses.length, 1)
  intake.redeclare(false)
  await clock.advance(1_000)
  assert.equal(losses.length, 1)
})

test('the queue of a cancelled consumer is waited for again when looking for it failed', async () => {
  const { clock, broker, intake, losses } = await subscribed()
  broker.failing.add('checkQueue')
  intake.redeclare(true)
  await clock.advance(0)
  broker.failing.clear()
  await clock.advance(300)
  broker.missing.add(QUEUE)
  await clock.advance(1_000)
  assert.equal(losses.length, 1)
})

test('a queue that is deleted while the group is declared again is declared once more', async () => {
  const { clock, broker, intake, losses, declarations } = await subscribed()
  declarations.push(() => {
    broker.missing.add(QUEUE)
    intake.redeclare(true)
  })
  intake.redeclare(false)
  await clock.advance(1_000)
  assert.equal(losses.length, 1)
})
