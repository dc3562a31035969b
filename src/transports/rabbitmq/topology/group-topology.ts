import type { Channel } from 'amqplib'
import { sleep } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { ConfigurationError } from '../../../core/errors.ts'
import { declareQueue, inequivalentArgument } from './declare-channel.ts'
import type { DeclareChannel, Drift } from './declare-channel.ts'
import type { ResolvedConsumerOptions } from '../consume/consumer-options.ts'
import { REPLY, replyCode } from '../errors.ts'
import { deadKeyOf, findDeadKey, isCurrent, nameOfGroup, queuesOf, reconcile } from './group-layout.ts'
import type { GroupLayout } from './group-layout.ts'
import {
  ALL_TOPICS,
  bindingKeyOf,
  bindingKeysOf,
  bucketKeysOf,
  BUCKETS,
  isTail,
  partitionQueue,
  routingKeyOf,
} from './names.ts'
import type { Names } from './names.ts'

export type QueueType = 'quorum' | 'classic'

export type QueueArguments = Readonly<Record<string, unknown>>

/** A group to declare. */
export interface GroupSpec {
  /** `ALL_TOPICS` for the queues that all topics of the group share; these are bound one by one (`bindTopic`). */
  readonly topic: string
  readonly group: string
  readonly layout: GroupLayout
  readonly options:
    Partial<Pick<ResolvedConsumerOptions, 'queueType' | 'maxPriority' | 'arguments' | 'bindings'>> | undefined
  /** Queues of it that are known to be missing: only these are declared. `layout` is that of the group then. */
  readonly missing?: ReadonlySet<string> | undefined
  /** Queues of it that the member consumes at the moment. They may be deleted at any time, and are not declared. */
  readonly watched?: ReadonlySet<string> | undefined
}

export interface DeclaredGroup {
  readonly layout: GroupLayout
  readonly queues: readonly string[]
  readonly drifts: readonly Drift[]
  /** Its first queue did not exist before: the group is new, unless that queue had been deleted. */
  readonly isNew: boolean
  /**
   * Queues that were missing although others existed: they had been deleted; or the first member of a new group died
   * while it declared them.
   */
  readonly restored: readonly string[]
}

export interface GroupContext {
  readonly clock: Clock
  readonly names: Names
  readonly queueType: QueueType
  readonly quorumArguments: QueueArguments
  readonly deliveryLimit: number
}

/**
 * RabbitMQ ends the consumers of a deleted queue up to this long before or after the queue is gone. Declared again before
 * that, it would keep a consumer, unnoticed, and RabbitMQ 3 would take its first messages for ones that this consumer has had.
 */
export const CONSUMERS_END_MS = 500

/** Effectively no limit: peeking at a queue counts as a delivery, and must never use a message up. */
const NO_DELIVERY_LIMIT = 1_000_000_000
/** Requests on one channel that are not answered yet. */
const BINDINGS_AT_ONCE = 256
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
const DEAD_LETTER_EXCHANGE = 'x-dead-letter-exchange'
const DEAD_LETTER_KEY = 'x-dead-letter-routing-key'

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
 * Declares the queues of a group, and binds them to the topic. The first queue is declared last, and its arguments
 * decide the layout: where it exists, all the others did. Idempotent. Rejects with the broker's refusal, or with
 * `ConfigurationError` when the existing group does not keep the wanted order, or is of another version.
 */
export async function declareGroup(
  declaring: DeclareChannel,
  context: GroupContext,
  spec: GroupSpec,
): Promise<DeclaredGroup> {
  const { names } = context
  const first = names.group(spec.topic, spec.group)
  const has = (queue: string): Promise<boolean> => declaring.exists((channel) => channel.checkQueue(queue))
  const wanted = queuesOf(first, spec.layout)
  let exists = await has(first)
  // Of a new group, no other queue exists either, unless its first member died half-way.
  const isDamaged = !exists && spec.missing === undefined && wanted[1] !== undefined && (await has(wanted[1]))
  if (isDamaged) {
    await sleep(context.clock, CONSUMERS_END_MS)
    exists = await has(first)
  }
  const made = exists ? [] : wanted.slice(1).filter((queue) => spec.missing?.has(queue) !== false)
  const drifts: Drift[] = []
  for (const queue of made) drifts.push(...(await declareOne(declaring, context, spec, queue, spec.layout)))
  let { layout } = spec
  // If it was deleted too, its consumers have yet to hear of that.
  if (spec.watched?.has(first) !== true && (exists || spec.missing?.has(first) !== false)) {
    const { layout: current, drifts: more } = await declareFirst(declaring, context, spec, first)
    layout = current
    drifts.push(...more)
  }
  const queues = queuesOf(first, layout)
  // Another member has made the group at the same time, in another form.
  for (const queue of made) if (!queues.includes(queue)) await deleteUnused(declaring, queue)
  const others = queues.slice(1).filter((queue) => !made.includes(queue) && spec.missing?.has(queue) !== false)
  let gone = await filter(others, async (queue) => !(await has(queue)))
  if (gone.length > 0 && spec.missing === undefined && exists) {
    // Members that consumed them declare them again.
    await sleep(context.clock, CONSUMERS_END_MS)
    gone = await filter(gone, async (queue) => !(await has(queue)))
  }
  for (const queue of gone) drifts.push(...(await declareOne(declaring, context, spec, queue, layout)))
  await bindGroup(declaring, names, spec, queues)
  const restored = exists ? gone : isDamaged ? [first, ...gone] : []
  return { layout, queues, drifts, restored, isNew: !exists && spec.missing === undefined }
}

/** One after another: each question may cost the channel. */
async function filter(queues: readonly string[], test: (queue: string) => Promise<boolean>): Promise<string[]> {
  const found: string[] = []
  for (const queue of queues) if (await test(queue)) found.push(queue)
  return found
}

/** Quorum queues have no deletion on condition. The queue is not bound yet. */
async function deleteUnused(declaring: DeclareChannel, queue: string): Promise<void> {
  await declaring.exists(async (channel) => {
    const { messageCount, consumerCount } = await channel.checkQueue(queue)
    if (messageCount + consumerCount === 0) await channel.deleteQueue(queue)
  })
}

/** Like `declareGroup`, for a group that another process or an operator creates. */
export async function checkGroup(
  declaring: DeclareChannel,
  names: Names,
  { topic, group, layout }: GroupSpec,
): Promise<DeclaredGroup> {
  const queues = queuesOf(names.group(topic, group), layout)
  for (const queue of queues) {
    if (await declaring.exists((channel) => channel.checkQueue(queue))) continue
    throw new ConfigurationError(nameOfGroup(topic, group), [
      {
        path: 'declare',
        message: `is false, and the queue "${queue}" does not exist. Make the group with a user who may declare, with the same order and partitions`,
      },
    ])
  }
  return { layout, queues, drifts: [], restored: [], isNew: false }
}

/** Counts the queues of a group; 0 when there is no such group. */
export async function countQueues(declaring: DeclareChannel, first: string): Promise<number> {
  let count = 0
  while (count < BUCKETS && (await declaring.exists((channel) => channel.checkQueue(partitionQueue(first, count)))))
    count++
  return count
}

/** Declares the first queue, and finds out which layout the group has. */
async function declareFirst(
  declaring: DeclareChannel,
  context: GroupContext,
  spec: GroupSpec,
  first: string,
): Promise<Pick<DeclaredGroup, 'layout' | 'drifts'>> {
  const { topic, group, layout: wanted } = spec
  try {
    const drifts = await declareOne(declaring, context, spec, first, wanted)
    if (drifts.length === 0 || wanted.order !== 'key') return { layout: wanted, drifts }
    // Another argument differs, and nothing was said about the layout.
    return { layout: { ...wanted, partitions: await countQueues(declaring, first) }, drifts }
  } catch (error) {
    const argument = inequivalentArgument(error)
    if (argument !== DEAD_LETTER_KEY && argument !== 'x-single-active-consumer') throw refusal(error, spec, first)
    const current = findDeadKey((error as Error).message.split('current is')[1] ?? '')
    if (current !== undefined && !isCurrent(current)) throw refusal(error, spec, first)
    // The broker cuts its answers off, so it may not say.
    const candidates: readonly GroupLayout[] =
      current === undefined
        ? [
            { order: 'none', partitions: 1 },
            { order: 'strict', partitions: 1 },
            { order: 'key', partitions: await countQueues(declaring, first), perGroup: wanted.perGroup },
          ]
        : [current.layout]
    for (const layout of candidates) {
      const drifts = await declareOne(declaring, context, spec, first, layout).catch((another: unknown) => {
        if (inequivalentArgument(another) === undefined) throw another
        return undefined
      })
      if (drifts !== undefined) return { layout: reconcile(topic, group, wanted, layout), drifts }
    }
    throw refusal(error, spec, first)
  }
}

function refusal(error: unknown, { topic, group }: GroupSpec, queue: string): unknown {
  const argument = inequivalentArgument(error)
  if (argument === undefined) return error
  return new ConfigurationError(nameOfGroup(topic, group), [
    {
      path: 'group',
      message: `can't be used: its queue "${queue}" exists with another ${argument}. It was made by another version of Busbar, or by hand: delete it when it is empty, or use another group or exchange. RabbitMQ says: ${(error as Error).message}`,
    },
  ])
}

function declareOne(
  declaring: DeclareChannel,
  context: GroupContext,
  spec: GroupSpec,
  queue: string,
  layout: GroupLayout,
): Promise<readonly Drift[]> {
  const args = queueArguments(context, spec, layout)
  const given = spec.options?.arguments ?? {}
  const vital =
    DEAD_LETTER_EXCHANGE in given || DEAD_LETTER_KEY in given
      ? VITAL
      : [...VITAL, DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY]
  return declareQueue(declaring, queue, { durable: true, arguments: args }, vital)
}

function queueArguments(
  { deliveryLimit, names, quorumArguments, queueType: usual }: GroupContext,
  { group, options }: GroupSpec,
  layout: GroupLayout,
): QueueArguments {
  const queueType = options?.queueType ?? usual
  return {
    ...(queueType === 'quorum' ? { 'x-consumer-disconnected-timeout': CONSUMER_AWAY_MS } : {}),
    ...typeArguments(queueType, quorumArguments),
    // Where the broker puts messages that it gives up. Our own dead letters are published.
    [DEAD_LETTER_EXCHANGE]: names.system,
    [DEAD_LETTER_KEY]: deadKeyOf(layout, group),
    ...(queueType === 'quorum' ? { 'x-delivery-limit': deliveryLimit } : {}),
    ...(layout.order === 'none' ? {} : { 'x-single-active-consumer': true }),
    ...(options?.maxPriority === undefined ? {} : { 'x-max-priority': options.maxPriority }),
    ...options?.arguments,
  }
}

/**
 * Binds queues that exist: another member declares and binds one that was deleted a moment ago. Resolves with the number
 * of bindings.
 */
export async function bindGroup(
  declaring: DeclareChannel,
  names: Names,
  { topic, group, options }: Pick<GroupSpec, 'topic' | 'group' | 'options'>,
  queues: readonly string[],
): Promise<number> {
  const key = bindingKeyOf(topic)
  const first = queues[0] as string
  let count = 0
  let source = names.exchangeOf(topic)
  const bind = (queue: string, keys: readonly string[]): Promise<void> => {
    count += keys.length
    return ifExists(declaring, queue, (channel) =>
      Promise.all(keys.map((each) => channel.bindQueue(queue, source, each))),
    )
  }
  if (queues.length === 1) await bind(first, topic === ALL_TOPICS ? [] : bindingKeysOf(key))
  else {
    // A pattern for any number of words would match messages without a bucket in one queue, and all others twice.
    if (isTail(topic)) source = await declareSpread(declaring, names, topic, group, first)
    const keys = bucketKeysOf(isTail(topic) ? '#' : key, queues.length)
    for (const [partition, queue] of queues.entries())
      // Messages without a bucket come from other publishers; they all go to one queue, and so keep their order.
      await bind(queue, [...(keys[partition] ?? []), ...(partition === 0 && !isTail(topic) ? [key] : [])])
    if (isTail(topic) && topic !== ALL_TOPICS)
      await declaring.run((channel) => channel.bindExchange(source, names.exchangeOf(topic), key))
  }
  for (const { exchange, routingKey = '', arguments: args } of options?.bindings ?? []) {
    await ifExists(declaring, first, (channel) => channel.bindQueue(first, exchange, routingKey, args))
    count++
  }
  return count
}

/** Leads topics to the queues that all topics of the group share; resolves with the number of bindings. */
export async function bindTopics(
  declaring: DeclareChannel,
  names: Names,
  group: string,
  topics: readonly string[],
  { partitions }: GroupLayout,
): Promise<number> {
  const queue = names.group(ALL_TOPICS, group)
  const spread = names.spread(ALL_TOPICS, group).byBucket
  const bindings = topics.flatMap((topic) =>
    bindingKeysOf(bindingKeyOf(topic)).map((key) => ({ source: names.exchangeOf(topic), key })),
  )
  for (let at = 0; at < bindings.length; at += BINDINGS_AT_ONCE)
    await declaring.run((channel) =>
      Promise.all(
        bindings
          .slice(at, at + BINDINGS_AT_ONCE)
          .map(({ source, key }) =>
            partitions === 1 ? channel.bindQueue(queue, source, key) : channel.bindExchange(spread, source, key),
          ),
      ),
    )
  return bindings.length
}

/** The opposite of `bindTopics`, for one topic. */
export async function unbindTopic(
  declaring: DeclareChannel,
  names: Names,
  group: string,
  topic: string,
  { partitions }: GroupLayout,
): Promise<void> {
  const queue = names.group(ALL_TOPICS, group)
  const spread = names.spread(ALL_TOPICS, group).byBucket
  const source = names.exchangeOf(topic)
  for (const key of bindingKeysOf(bindingKeyOf(topic)))
    await declaring.exists((channel) =>
      partitions === 1 ? channel.unbindQueue(queue, source, key) : channel.unbindExchange(spread, source, key),
    )
}

/** Runs it, unless it fails because that queue does not exist. */
async function ifExists(
  declaring: DeclareChannel,
  queue: string,
  operation: (channel: Channel) => Promise<unknown>,
): Promise<void> {
  try {
    await declaring.run(operation)
  } catch (error) {
    const isMissing = replyCode(error) === REPLY.notFound
    if (!isMissing || (await declaring.exists((channel) => channel.checkQueue(queue)))) throw error
  }
}

/** Two exchanges that spread messages by their bucket, and take those without one to the first queue. */
async function declareSpread(
  declaring: DeclareChannel,
  names: Names,
  topic: string,
  group: string,
  first: string,
): Promise<string> {
  const { byBucket, rest } = names.spread(topic, group)
  await declaring.run(async (channel) => {
    await channel.assertExchange(rest, 'fanout', { durable: true })
    await channel.assertExchange(byBucket, 'topic', { durable: true, alternateExchange: rest })
  })
  await ifExists(declaring, first, (channel) => channel.bindQueue(first, rest, ''))
  return byBucket
}

/** Declares the queue that holds a dead-letter topic: with its first dead letter, and until it is purged. */
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
      bindingKeysOf(routingKeyOf(topic)).map((key) => channel.bindQueue(queue, names.exchangeOf(topic), key)),
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
    'x-expires': NOTES_KEPT_MS,
  }
}
