import type { Channel } from 'amqplib'
import type { Clock } from '../../../core/clock.ts'
import { ConfigurationError } from '../../../core/errors.ts'
import { isPattern } from '../../../core/topic.ts'
import type { DeliverySink, SubscriptionSpec, TransportHost } from '../../../core/transport.ts'
import { AttemptNotes } from './attempt-notes.ts'
import { broadcastQueue, deleteBroadcasts } from '../topology/broadcast-queue.ts'
import type { BrokerLocks } from '../admin/broker-lock.ts'
import { resolveConsumerOptions } from './consumer-options.ts'
import type { ResolvedConsumerOptions } from './consumer-options.ts'
import type { Topology } from '../topology/topology.ts'
import { DeclareChannel, declareQueue } from '../topology/declare-channel.ts'
import { DeletedQueues } from '../topology/deleted-queues.ts'
import { toBrokerError } from '../errors.ts'
import { isSameLayout } from '../topology/group-layout.ts'
import type { GroupLayout } from '../topology/group-layout.ts'
import { sharedLayout } from '../topology/topology.ts'
import type { SharedGroup } from './shared-group.ts'
import type { GroupSpec } from '../topology/group-topology.ts'
import { QueueAssignment } from '../partitions/queue-assignment.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import type { MemberChannel } from '../partitions/member-channel.ts'
import { Membership } from '../partitions/membership.ts'
import type { MembershipParts } from '../partitions/membership.ts'
import { ALL_TOPICS, bindingKeyOf, bindingKeysOf } from '../topology/names.ts'
import type { Names } from '../topology/names.ts'
import type { ResolvedRabbitMqOptions } from '../options.ts'
import type { ControlPublisher } from '../publish/control-publisher.ts'
import { QueueConsumer } from './queue-consumer.ts'
import { shareOf } from './queue-share.ts'
import { RabbitMqSubscription } from './subscription.ts'
import type { SubscriptionContext } from './subscription-context.ts'

export interface SubscribingParts {
  readonly options: ResolvedRabbitMqOptions
  readonly names: Names
  readonly context: SubscriptionContext
  readonly declarations: Topology
  readonly locks: BrokerLocks
  readonly control: ControlPublisher
  readonly members: MemberChannel
  readonly host: TransportHost
  readonly whenUp: () => Promise<LiveConnection>
}

interface Declared {
  readonly queues: readonly string[]
  /** Undefined when we do not lay out the queue. */
  readonly layout: GroupLayout | undefined
}

/**
 * Declares what the subscription consumes and connects its parts. Rejects with `ConfigurationError` for bad `native`
 * options or a group of another shape, and with the broker's refusal. `shared`: the topics of a group that share its queues.
 */
export async function createSubscription(
  spec: SubscriptionSpec,
  sink: DeliverySink,
  parts: SubscribingParts,
  shared?: SharedGroup,
): Promise<RabbitMqSubscription> {
  const native = resolveConsumerOptions(spec, parts.options)
  const { live, declared } = await declareFirst(spec, native, parts, shared)
  const { layout } = declared
  // A key is with one member at a time because its queue is; where the queue is not ours, the order decides how to
  // leave it.
  const isShared = layout === undefined ? !spec.ephemeral && spec.order === 'none' : layout.order === 'none'
  // Queues that exist for one connection only, and streams, which keep no position, need no notes.
  const hasNotes = !spec.ephemeral && !native.noAck && parts.options.declare
  const notes = hasNotes ? notesOf(placeOf(spec, shared), parts) : undefined
  const deleted = layout && new DeletedQueues(parts.host, spec, declared.queues)
  const subscription = new RabbitMqSubscription({
    spec,
    sink,
    options: native,
    context: parts.context,
    notes,
    nature: {
      isShared,
      partitions: layout?.partitions ?? 1,
      isForeign: native.queue !== undefined && native.offset === undefined,
      isTemporary: spec.ephemeral && native.offset === undefined,
      // The shared queues of a group are found by its name.
      groupQueue:
        shared === undefined && (isPattern(spec.topic) || native.queue !== undefined) ? declared.queues[0] : undefined,
      isPerGroup: shared !== undefined,
    },
    consumerTimeoutMs: parts.options.consumerTimeoutMs,
    overflowFolder: parts.options.overflowFolder,
    shared: shared && { topics: shared, taker: shared.taker },
    renewBindings: async () => {
      const current = parts.context.live()
      if (layout === undefined || current === undefined) return 0
      const { topic, group } = placeOf(spec, shared)
      const heard = await parts.members.renew(declared.queues[0])
      const bound = await parts.declarations.renewBindings(current, { topic, group, layout, options: native })
      return heard + bound + ((await shared?.renew()) ?? 0)
    },
    assignment: (host) =>
      new QueueAssignment({
        host: {
          declare: async (again, which, cancelled) => {
            const consumed = host.assignment.assignedQueues.filter(
              ({ reader }) => reader.isOpen && reader.epoch === again.epoch,
            )
            const watched = new Set(consumed.map(({ reader }) => reader.queue))
            const missing = await deleted?.look(again, which, cancelled, host.lostQueues, watched)
            const now = await declare(spec, native, parts, again, shared, layout && { layout, missing, watched })
            await shared?.bindAgain(which === 'cancelled')
            deleted?.report()
            if (spec.ephemeral && native.offset === undefined) reportAway(spec, parts.host)
            checkLayout(spec, layout, now.layout)
            return now.queues
          },
          makeAssignedQueue: (queue, partition) => ({
            reader: makeReader(parts.host.clock, host, queue, spec, native, layout?.partitions ?? 1),
            partition,
            isLeaving: false,
            isEnding: false,
            standsByFor: undefined,
            standbyAt: 0,
            rank: 0,
            isKept: false,
            hasYielded: false,
          }),
          abandoned: async (again, queues) => {
            if (!spec.ephemeral || native.queue !== undefined || native.offset !== undefined) return
            await deleteBroadcasts(again, queues).catch((error: unknown) => {
              if (again.isOpen) parts.context.failed(error, 'deleting a queue')
            })
          },
          handBack: (assigned) => host.handBack(assigned),
          noteReturned: (assigned) => host.noteReturned(assigned),
          rebalanced: (assigned, revoked) => {
            for (const each of shared?.specs ?? [spec]) reportRebalance(each, parts.host, assigned, revoked)
          },
          failed: (error, doing) =>
            parts.context.failed(toBrokerError(error, `"${spec.topic}" in group "${spec.group}"`), doing),
        },
        clock: parts.host.clock,
        id: spec.consumerId,
        isShared,
        membership:
          layout !== undefined &&
          (layout.partitions > 1 || shared !== undefined) &&
          parts.options.declare &&
          !native.exclusive
            ? membershipOf(spec, declared.queues[0] as string, parts, shared)
            : undefined,
      }),
  })
  subscription.assignment.begin(live, declared.queues)
  return subscription
}

/** What names the queues on the broker. */
function placeOf(spec: SubscriptionSpec, shared: SharedGroup | undefined): SubscriptionSpec {
  return shared === undefined ? spec : { ...spec, topic: ALL_TOPICS }
}

async function declareFirst(
  spec: SubscriptionSpec,
  native: ResolvedConsumerOptions,
  parts: SubscribingParts,
  shared: SharedGroup | undefined,
): Promise<{ live: LiveConnection; declared: Declared }> {
  for (;;) {
    const live = await parts.whenUp()
    try {
      return { live, declared: await declare(spec, native, parts, live, shared) }
    } catch (error) {
      // The connection was lost meanwhile: that does not answer the question.
      if (live.isOpen) throw toBrokerError(error, `Subscribing group "${spec.group}" to "${spec.topic}"`)
    }
  }
}

function checkLayout(
  { topic, group }: SubscriptionSpec,
  before: GroupLayout | undefined,
  now: GroupLayout | undefined,
): void {
  if (before === undefined || now === undefined || isSameLayout(before, now)) return
  throw new ConfigurationError(`The group "${group}" of "${topic}"`, [
    {
      path: 'order',
      message: `was deleted and recreated with order "${now.order}" and ${now.partitions} partitions instead of "${before.order}" and ${before.partitions}. Restart this consumer`,
    },
  ])
}

async function declare(
  spec: SubscriptionSpec,
  native: ResolvedConsumerOptions,
  parts: SubscribingParts,
  live: LiveConnection,
  shared: SharedGroup | undefined,
  known?: Pick<GroupSpec, 'layout' | 'missing' | 'watched'>,
): Promise<Declared> {
  const { topic, group, order } = placeOf(spec, shared)
  if (native.offset !== undefined && native.queue === undefined)
    return { queues: [await declareStream(spec, native, parts, live)], layout: undefined }
  if (spec.ephemeral && native.queue === undefined)
    return { queues: [await declareBroadcast(spec, native, parts, live)], layout: undefined }
  if (native.queue !== undefined)
    return { queues: [await adoptQueue(native.queue, native, parts, live)], layout: undefined }
  const { queues, layout } = await parts.declarations.group(live, {
    topic,
    group,
    layout:
      shared === undefined
        ? { order, partitions: order === 'key' ? native.partitions : 1 }
        : { ...sharedLayout(parts.options), partitions: native.partitions },
    options: native,
    ...known,
  })
  return { queues, layout }
}

/** A queue of this consumer alone, deleted with its connection: it misses what is published while it is away. */
async function declareBroadcast(
  spec: SubscriptionSpec,
  native: ResolvedConsumerOptions,
  { names }: SubscribingParts,
  live: LiveConnection,
): Promise<string> {
  // A different name for each connection: the broker may not have noticed yet that the last one has ended.
  const queue = names.broadcast(spec.topic, spec.group, live.epoch)
  const declaring = new DeclareChannel(live)
  try {
    await declaring.run((channel) => channel.assertQueue(queue, broadcastQueue(live, native)))
    await bindQueue(declaring, spec, native, names, queue)
  } finally {
    await declaring.close()
  }
  return queue
}

/** A log of the topic beside the queues of its groups. Its first declaration decides how much it keeps. */
async function declareStream(
  spec: SubscriptionSpec,
  native: ResolvedConsumerOptions,
  { names }: SubscribingParts,
  live: LiveConnection,
): Promise<string> {
  const queue = names.stream(spec.topic)
  const key = bindingKeyOf(spec.topic)
  const declaring = new DeclareChannel(live)
  try {
    const args = { 'x-queue-type': 'stream', ...native.arguments }
    await declareQueue(declaring, queue, { durable: true, arguments: args }, ['x-queue-type', 'durable'])
    await declaring.run((channel) =>
      Promise.all([
        ...bindingKeysOf(key).map((each) => channel.bindQueue(queue, names.exchangeOf(spec.topic), each)),
        ...bindAlso(channel, queue, native),
      ]),
    )
  } finally {
    await declaring.close()
  }
  return queue
}

/** A queue that is not ours: it stays as it is, but for bindings that the user wants. */
async function adoptQueue(
  queue: string,
  native: ResolvedConsumerOptions,
  { options }: SubscribingParts,
  live: LiveConnection,
): Promise<string> {
  const declaring = new DeclareChannel(live)
  try {
    await declaring.run((channel) => channel.checkQueue(queue))
    if (options.declare && native.bindings.length > 0)
      await declaring.run((channel) => Promise.all(bindAlso(channel, queue, native)))
  } finally {
    await declaring.close()
  }
  return queue
}

async function bindQueue(
  declaring: DeclareChannel,
  { topic }: SubscriptionSpec,
  native: ResolvedConsumerOptions,
  names: Names,
  queue: string,
): Promise<void> {
  const keys = bindingKeysOf(bindingKeyOf(topic))
  await declaring.run((channel) =>
    Promise.all([
      ...keys.map((each) => channel.bindQueue(queue, names.exchangeOf(topic), each)),
      ...bindAlso(channel, queue, native),
    ]),
  )
}

function bindAlso(channel: Channel, queue: string, { bindings }: ResolvedConsumerOptions): Promise<unknown>[] {
  return bindings.map(({ exchange, routingKey = '', arguments: args }) =>
    channel.bindQueue(queue, exchange, routingKey, args),
  )
}

function makeReader(
  clock: Clock,
  host: RabbitMqSubscription,
  queue: string,
  spec: SubscriptionSpec,
  native: ResolvedConsumerOptions,
  partitions: number,
): QueueConsumer {
  return new QueueConsumer({
    clock,
    queue,
    prefetch: native.prefetch ?? Math.min(65_535, shareOf(spec.prefetch, partitions)),
    maxHeld: shareOf(native.maxBuffered, partitions),
    bodies: host.bodies,
    isStrict: spec.order === 'strict',
    isPerGroup: host.nature.isPerGroup,
    options: native,
    host,
  })
}

function notesOf(
  { topic, group }: SubscriptionSpec,
  { names, locks, control, host, declarations }: SubscribingParts,
): AttemptNotes {
  return new AttemptNotes({
    clock: host.clock,
    locks,
    publisher: control,
    queueOf: (place) => names.notes(topic, group, place),
    declare: (live, queue) => declarations.notes(live, queue),
  })
}

function membershipOf(
  spec: SubscriptionSpec,
  first: string,
  { members, host, context }: SubscribingParts,
  shared: SharedGroup | undefined,
): (hooks: Pick<MembershipParts, 'onChange' | 'onLost'> & { readonly isConsumed: () => boolean }) => Membership {
  return ({ isConsumed, ...hooks }) =>
    new Membership({
      id: spec.consumerId,
      first,
      channel: members,
      questions: context.questions,
      clock: host.clock,
      topics: shared?.told,
      hasOthers: async (live) => (isConsumed() ? undefined : (await consumersOf(live, first)) > 0),
      ...hooks,
      onError: (error) => {
        if (context.publisher.blockedBy === undefined) context.failed(error, 'talking to the other members of a group')
      },
    })
}

async function consumersOf(live: LiveConnection, queue: string): Promise<number> {
  const declaring = new DeclareChannel(live)
  try {
    let count = 0
    await declaring.exists(async (channel) => {
      count = (await channel.checkQueue(queue)).consumerCount
    })
    return count
  } finally {
    void declaring.close()
  }
}

/** The queue of a broadcast consumer ends with its connection: what was published until it had another one is lost to it. */
function reportAway({ topic, group }: SubscriptionSpec, { events, name }: TransportHost): void {
  const reason = 'the connection was lost or its queue deleted, and nothing is kept for a broadcast consumer meanwhile'
  events.emit('loss', { transport: name, topic, group, count: undefined, position: undefined, reason })
}

function reportRebalance(
  { topic, group, consumerId }: SubscriptionSpec,
  { events, name }: TransportHost,
  assigned: readonly string[],
  revoked: readonly string[],
): void {
  events.emit('rebalance', { transport: name, topic, group, consumerId, assigned, revoked })
}
