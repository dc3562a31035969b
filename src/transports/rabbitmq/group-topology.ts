import { ConfigurationError } from '../../core/errors.ts'
import { deadLetterTopic, isPattern } from '../../core/topic.ts'
import { declareQueue, inequivalentArgument } from './declare-channel.ts'
import type { DeclareChannel, Drift } from './declare-channel.ts'
import type { ResolvedConsumerOptions } from './consumer-options.ts'
import { layoutToken, reconcile } from './group-layout.ts'
import type { GroupLayout } from './group-layout.ts'
import { bindingKeyOf, bindingKeysOf, bucketed, isTail, routingKeyOf, targetedKeyOf } from './names.ts'
import type { Names } from './names.ts'
import { BUCKETS } from './options.ts'

export type QueueType = 'quorum' | 'classic'

export type QueueArguments = Readonly<Record<string, unknown>>

/** A group to declare. */
export interface GroupSpec {
  readonly topic: string
  readonly group: string
  readonly layout: GroupLayout
  readonly options:
    Partial<Pick<ResolvedConsumerOptions, 'queueType' | 'maxPriority' | 'arguments' | 'bindings'>> | undefined
  /** Its missing queues, when it exists: the others are not declared. */
  readonly declares?: ReadonlySet<string> | undefined
  /** The queues to bind, when others may be missing. */
  readonly binds?: ReadonlySet<string> | undefined
}

export interface DeclaredGroup {
  readonly layout: GroupLayout
  readonly queues: readonly string[]
  readonly drifts: readonly Drift[]
}

export interface GroupContext {
  readonly names: Names
  readonly queueType: QueueType
  readonly quorumArguments: QueueArguments
  readonly deliveryLimit: number
  /** Called before a new group is declared. */
  readonly register: (spec: GroupSpec) => Promise<void>
  /** The layout that the group was registered with. */
  readonly layoutOf: (topic: string, group: string) => Promise<GroupLayout | undefined>
}

/** Effectively no limit: peeking at a queue counts as a delivery, and must never use a message up. */
const NO_DELIVERY_LIMIT = 1_000_000_000
const NOTES_KEPT = 10_000
const NOTES_KEPT_MS = 7 * 86_400_000

/**
 * RabbitMQ 4.3 lets a consumer whose node is away keep its messages, and a queue with a single active consumer, for a
 * minute, in case it comes back. Until then every key of the queue stands still. Before 4.3 it does not wait, and
 * ignores the argument.
 */
const CONSUMER_AWAY_MS = 5_000

/** Arguments that decide order or what is kept. A queue with other values can't be used. */
const VITAL = ['x-single-active-consumer', 'durable', 'exclusive', 'auto_delete']

/** Arguments of every queue that keeps messages. */
function typeArguments(queueType: QueueType, quorumArguments: QueueArguments): QueueArguments {
  if (queueType === 'classic') return { 'x-queue-type': 'classic' }
  // Spreads leaders over the nodes of a cluster; by default all of them are on the declaring node, whose death would
  // stop everything for a moment.
  return { 'x-queue-type': 'quorum', 'x-queue-leader-locator': 'balanced', ...quorumArguments }
}

/** Arguments of a queue that must keep its messages in all cases and is not consumed in the ordinary way. */
export function storageArguments(queueType: QueueType, quorumArguments: QueueArguments): QueueArguments {
  const common = typeArguments(queueType, quorumArguments)
  return queueType === 'quorum' ? { ...common, 'x-delivery-limit': NO_DELIVERY_LIMIT } : common
}

/**
 * Declares a group with everything that belongs to it: its queues, bound to the topic, to copies for the group and to
 * delayed messages; its dead-letter queue; its notes. Idempotent. Rejects with the broker's refusal, or with
 * `ConfigurationError` when the existing group does not keep the wanted order.
 */
export async function declareGroup(
  declaring: DeclareChannel,
  context: GroupContext,
  spec: GroupSpec,
): Promise<DeclaredGroup> {
  const { names } = context
  const { topic, group } = spec
  const queueType = spec.options?.queueType ?? context.queueType
  const exchange = names.group(topic, group)
  if (!(await declaring.exists((channel) => channel.checkExchange(exchange)))) await context.register(spec)
  const layout = await declareGroupExchange(declaring, exchange, spec, context.layoutOf)
  const queues = queuesOf(names, topic, group, layout)
  const drifts: Drift[] = []
  const args = queueArguments(context, spec, layout, queueType)
  for (const queue of queues)
    if (spec.declares?.has(queue) !== false)
      drifts.push(...(await declareQueue(declaring, queue, { durable: true, arguments: args }, VITAL)))
  await bindGroup(declaring, names, spec, layout, exchange, queues)
  if (!isPattern(topic))
    drifts.push(
      ...(await declareStorage(
        declaring,
        names,
        storageArguments(context.queueType, context.quorumArguments),
        deadLetterTopic(topic, group),
      )),
    )
  return { layout, queues, drifts }
}

/** The queues of a group with that layout. */
export function queuesOf(names: Names, topic: string, group: string, layout: GroupLayout): readonly string[] {
  return layout.order === 'key'
    ? Array.from({ length: layout.partitions }, (_, partition) => names.partition(topic, group, partition))
    : [names.group(topic, group)]
}

/** Like `declareGroup`, for a group that another process or an operator creates: returns the missing queues. */
export async function checkGroup(
  declaring: DeclareChannel,
  names: Names,
  { topic, group, layout }: GroupSpec,
): Promise<DeclaredGroup> {
  const queues = queuesOf(names, topic, group, layout)
  for (const queue of queues) {
    if (await declaring.exists((channel) => channel.checkQueue(queue))) continue
    throw new ConfigurationError(`The group "${group}" of "${topic}"`, [
      {
        path: 'declare',
        message: `is false, and the queue "${queue}" does not exist. Make the group with a user who may declare, with the same order and partitions`,
      },
    ])
  }
  return { layout, queues, drifts: [] }
}

/**
 * The exchange spreads the keys of messages that do not come directly from the bus's exchange over the queues. Its
 * alternate exchange, used or not, records the layout: the broker refuses a declaration that names another one.
 */
async function declareGroupExchange(
  declaring: DeclareChannel,
  exchange: string,
  { topic, group, layout: wanted }: GroupSpec,
  layoutOf: GroupContext['layoutOf'],
): Promise<GroupLayout> {
  const isDeclared = async (layout: GroupLayout): Promise<boolean> => {
    const alternateExchange = `${exchange}:${layoutToken(layout)}`
    try {
      await declaring.run((channel) => channel.assertExchange(exchange, 'topic', { durable: true, alternateExchange }))
      return true
    } catch (error) {
      if (inequivalentArgument(error) !== 'alternate-exchange') throw error
      return false
    }
  }
  if (await isDeclared(wanted)) return wanted
  const registered = await layoutOf(topic, group)
  const candidates: readonly GroupLayout[] = [
    ...(registered === undefined ? [] : [registered]),
    { order: 'none', partitions: 1 },
    { order: 'strict', partitions: 1 },
    ...Array.from({ length: BUCKETS }, (_, index) => ({ order: 'key', partitions: index + 1 }) as const),
  ]
  for (const candidate of candidates) if (await isDeclared(candidate)) return reconcile(topic, group, wanted, candidate)
  throw new ConfigurationError(`The group "${group}" of "${topic}"`, [
    { path: 'group', message: `can't be declared: an exchange "${exchange}" exists that is none of ours` },
  ])
}

function queueArguments(
  { deliveryLimit, names, quorumArguments }: GroupContext,
  { topic, group, options }: GroupSpec,
  layout: GroupLayout,
  queueType: QueueType,
): QueueArguments {
  return {
    ...(queueType === 'quorum' ? { 'x-consumer-disconnected-timeout': CONSUMER_AWAY_MS } : {}),
    ...typeArguments(queueType, quorumArguments),
    // Where the broker puts messages beyond the delivery limit. Our own dead letters go there directly.
    ...(isPattern(topic)
      ? { 'x-dead-letter-exchange': names.unrouted }
      : {
          'x-dead-letter-exchange': names.deadLetters,
          'x-dead-letter-routing-key': routingKeyOf(deadLetterTopic(topic, group)),
        }),
    ...(queueType === 'quorum' ? { 'x-delivery-limit': deliveryLimit } : {}),
    ...(layout.order === 'none' ? {} : { 'x-single-active-consumer': true }),
    ...(options?.maxPriority === undefined ? {} : { 'x-max-priority': options.maxPriority }),
    ...options?.arguments,
  }
}

async function bindGroup(
  declaring: DeclareChannel,
  names: Names,
  { topic, group, options, binds }: GroupSpec,
  layout: GroupLayout,
  exchange: string,
  queues: readonly string[],
): Promise<void> {
  const key = bindingKeyOf(topic)
  const targeted = targetedKeyOf(group, key)
  const sources: readonly (readonly [string, string, Readonly<Record<string, unknown>>?])[] = [
    ...bindingKeysOf(key).flatMap((each) => [[names.exchangeOf(topic), each] as const, [names.late, each] as const]),
    ...bindingKeysOf(targeted).flatMap((each) => [[names.groups, each] as const, [names.lateGroups, each] as const]),
    ...(options?.bindings ?? []).map(
      (binding) => [binding.exchange, binding.routingKey ?? '', binding.arguments] as const,
    ),
  ]
  await declaring.run(async (channel) => {
    if (layout.order !== 'key') {
      const queue = queues[0] as string
      await Promise.all(sources.map(([source, routingKey, args]) => channel.bindQueue(queue, source, routingKey, args)))
      return
    }
    const main = names.exchangeOf(topic)
    // Directly from the bus's exchange to the queues; except that a pattern with any number of words would match
    // messages without a bucket in one queue, and all others twice.
    const isStraight = !isTail(topic)
    const queueOf = (bucket: number): string => queues[bucket % queues.length] as string
    const isHere = (bucket: number): boolean => binds?.has(queueOf(bucket)) !== false
    const buckets = Array.from({ length: BUCKETS }, (_, bucket) => bucket).filter(isHere)
    const rest = `${exchange}:${layoutToken(layout)}`
    await channel.assertExchange(rest, 'fanout', { durable: true })
    await Promise.all([
      // Messages without a bucket come from other publishers; they all go to one queue, and so keep their order.
      ...(isHere(0) ? [channel.bindQueue(queueOf(0), rest, '')] : []),
      ...buckets.map((bucket) => channel.bindQueue(queueOf(bucket), exchange, bucketed('#', bucket))),
      ...(isStraight ? buckets.map((bucket) => channel.bindQueue(queueOf(bucket), main, bucketed(key, bucket))) : []),
      ...(isStraight && isHere(0) ? [channel.bindQueue(queueOf(0), main, key)] : []),
    ])
    // Last: from here on messages arrive, and every bucket must have its queue.
    await Promise.all(
      sources
        .filter(([source]) => !isStraight || source !== main)
        .map(([source, routingKey, args]) => channel.bindExchange(exchange, source, routingKey, args)),
    )
  })
}

/** Declares the queue that holds a dead-letter topic. It exists before the first dead letter, and until it is purged. */
export async function declareStorage(
  declaring: DeclareChannel,
  names: Names,
  storage: QueueArguments,
  topic: string,
): Promise<readonly Drift[]> {
  const queue = names.storage(topic)
  const drifts = await declareQueue(declaring, queue, { durable: true, arguments: storage }, [])
  await declaring.run((channel) =>
    Promise.all(
      bindingKeysOf(routingKeyOf(topic)).flatMap((key) =>
        [names.exchangeOf(topic), names.late].map((source) => channel.bindQueue(queue, source, key)),
      ),
    ),
  )
  return drifts
}

/**
 * Arguments of a queue of notes: notes lose their meaning with time, and their number is limited. A classic queue is
 * ready at once: the first note of a group is about a handler that is already running.
 */
export function notesArguments(): QueueArguments {
  return {
    'x-queue-type': 'classic',
    'x-max-length': NOTES_KEPT,
    'x-overflow': 'drop-head',
    'x-message-ttl': NOTES_KEPT_MS,
  }
}
