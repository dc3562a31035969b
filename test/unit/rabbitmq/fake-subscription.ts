import { silentLogger } from 'busbar'
import { manualClock } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import { BusEvents } from '../../../src/core/events.ts'
import type { SubscriptionSpec, TransportHost } from '../../../src/core/transport.ts'
import type { Topology } from '../../../src/transports/rabbitmq/topology/topology.ts'
import type { GroupSpec } from '../../../src/transports/rabbitmq/topology/group-topology.ts'
import type { QueueAssignment } from '../../../src/transports/rabbitmq/partitions/queue-assignment.ts'
import { Turns } from '../../../src/core/util/turns.ts'
import { Names } from '../../../src/transports/rabbitmq/topology/names.ts'
import { resolveRabbitMqOptions } from '../../../src/transports/rabbitmq/resolve-options.ts'
import type { RabbitMqSubscription } from '../../../src/transports/rabbitmq/consume/subscription.ts'
import { createSubscription } from '../../../src/transports/rabbitmq/consume/create-subscription.ts'
import type { RabbitMqConsumerOptions } from '../../../src/transports/rabbitmq/consume/consumer-options.ts'
import { Reports } from '../../../src/transports/rabbitmq/reports.ts'
import type { SubscribingParts } from '../../../src/transports/rabbitmq/consume/create-subscription.ts'
import type { SubscriptionContext } from '../../../src/transports/rabbitmq/consume/subscription-context.ts'
import { fakeSession } from './fake-channel.ts'

const SPEC: SubscriptionSpec = {
  topic: 'orders',
  group: 'mail',
  order: 'none',
  ephemeral: false,
  from: 'latest',
  prefetch: 10,
  prefetchBytes: 4_000,
  maxPerKey: 1,
  consumerId: 'member',
}
/** The queue of the subscription. */
export const QUEUE = 'busbar:orders:mail'

interface Subscribed {
  readonly clock: ManualClock
  readonly broker: ReturnType<typeof fakeSession>
  readonly subscription: RabbitMqSubscription
  readonly assignment: QueueAssignment
  /** Reasons of the reported losses. */
  readonly losses: string[]
  /** What the reported warnings say. */
  readonly warnings: string[]
  /** What each declaration of the group does; without an entry it succeeds. */
  readonly declarations: ((spec: GroupSpec) => void)[]
}

/** A subscription whose broker is the test; of one queue, unless there are more partitions. */
export async function subscribed(native: RabbitMqConsumerOptions = {}, partitions = 1): Promise<Subscribed> {
  const clock = manualClock()
  const broker = fakeSession()
  const events = new BusEvents(silentLogger)
  const losses: string[] = []
  events.on('loss', ({ reason }) => void losses.push(reason))
  const warnings: string[] = []
  events.on('warning', ({ detail }) => void warnings.push(detail))
  const host = { clock, events, name: 'main' } as Partial<TransportHost> as TransportHost
  const reports = new Reports(host)
  const queues = Array.from({ length: partitions }, (_, index) => (index === 0 ? QUEUE : `${QUEUE}:${index}`))
  const declarations: ((spec: GroupSpec) => void)[] = []
  const context: Partial<SubscriptionContext> = {
    clock,
    questions: new Turns(12),
    live: () => undefined,
    failed: () => undefined,
    slow: () => undefined,
    tooLarge: ({ spec }, bytes, limit, isOnDisk) => reports.tooLarge(spec, bytes, limit, isOnDisk),
    ended: () => Promise.resolve(),
  }
  const parts: Partial<SubscribingParts> = {
    options: resolveRabbitMqOptions({}),
    names: new Names('busbar'),
    context: context as SubscriptionContext,
    declarations: {
      group: async (_, spec) => {
        declarations.shift()?.(spec)
        return { queues, layout: { order: 'none', partitions }, drifts: [], restored: [], isNew: false }
      },
      notes: () => Promise.resolve(),
    } as Partial<Topology> as Topology,
    host,
    whenUp: async () => broker.live,
  }
  const subscription = await createSubscription(
    { ...SPEC, native },
    { receive: () => undefined, lost: () => undefined, recall: () => undefined },
    {
      ...parts,
    } as SubscribingParts,
  )
  return { clock, broker, subscription, assignment: subscription.assignment, losses, warnings, declarations }
}
