import type { GetMessage } from 'amqplib'
import type { Clock } from '../../../core/clock.ts'
import { BusbarError, UnsupportedError } from '../../../core/errors.ts'
import type { EncodedMessage, Position } from '../../../core/message.ts'
import { compilePattern, deadLetterTopic, isDeadLetterTopic, isPattern } from '../../../core/topic.ts'
import type {
  GroupInfo,
  PartitionInfo,
  StartFrom,
  StoredMessage,
  TopicInfo,
  TransportAdmin,
} from '../../../core/transport.ts'
import { IncomingMessage } from '../wire/incoming-message.ts'
import { withCarried } from '../wire/carried-properties.ts'
import type { BrokerLocks } from './broker-lock.ts'
import type { Topology } from '../topology/topology.ts'
import { DeclareChannel } from '../topology/declare-channel.ts'
import type { DelayedCount } from '../delays/delayed-count.ts'
import { REPLY, replyCode, toBrokerError } from '../errors.ts'
import { digestOf } from '../consume/foreign-ids.ts'
import { queuesOf } from '../topology/group-layout.ts'
import type { GroupLayout } from '../topology/group-layout.ts'
import { countQueues, unbindTopic } from '../topology/group-topology.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import { readMessage } from '../wire/read-message.ts'
import type { MemberChannel } from '../partitions/member-channel.ts'
import { countMembers } from '../partitions/membership.ts'
import type { GroupRegistry } from '../topology/group-registry.ts'
import { ALL_TOPICS } from '../topology/names.ts'
import type { Names } from '../topology/names.ts'
import { PLACES } from '../topology/places.ts'
import type { GroupRecord, KnownGroups } from '../topology/known-groups.ts'
import { StorageReader } from './storage-reader.ts'
import type { LiveSubscription } from '../consume/subscription-context.ts'

export interface AdminParts {
  readonly clock: Clock
  readonly names: Names
  readonly locks: BrokerLocks
  readonly members: MemberChannel
  readonly blockedBy: () => string | undefined
  readonly groups: KnownGroups
  readonly registry: GroupRegistry
  readonly declarations: Topology
  readonly delayed: DelayedCount
  readonly subscriptions: ReadonlySet<LiveSubscription>
  readonly live: () => Promise<LiveConnection>
}

/** What a passive declaration of a queue answers. */
interface QueueCount {
  readonly messageCount: number
  readonly consumerCount: number
}

/** A partition, whose messages are always counted. */
type QueueInfo = PartitionInfo & { readonly lag: number; readonly ready: number }

const MOST_TOPICS = 10_000

/** Administers topics and groups, as far as AMQP allows: counts, dead letters, deletion. */
export class RabbitMqAdmin implements TransportAdmin {
  readonly #parts: AdminParts
  readonly #readers = new Map<string, StorageReader>()
  /** Topics that this process has used. */
  readonly #topics = new Set<string>()

  constructor(parts: AdminParts) {
    this.#parts = parts
  }

  knows(topic: string): void {
    if (this.#topics.has(topic)) return
    if (this.#topics.size < MOST_TOPICS) this.#topics.add(topic)
  }

  async ensureTopic(topic: string): Promise<void> {
    const live = await this.#parts.live()
    this.knows(topic)
    // The exchange exists in every connection. Only dead-letter topics have their own queue.
    if (isDeadLetterTopic(topic)) await this.#parts.declarations.storage(live, topic)
  }

  async topics(): Promise<readonly TopicInfo[]> {
    const live = await this.#parts.live()
    await this.#discover(live)
    const names = new Set(this.#topics)
    for (const { topic, group } of this.#parts.groups.list()) {
      if (isPattern(topic)) continue
      names.add(topic)
      names.add(deadLetterTopic(topic, group))
    }
    return this.#declaring(live, async (declaring) => {
      const infos: TopicInfo[] = []
      for (const topic of [...names].sort()) {
        const isStored = isDeadLetterTopic(topic)
        const stored = isStored ? await this.#count(declaring, this.#parts.names.storage(topic)) : undefined
        // Without a dead letter so far, there is none.
        if (isStored && stored === undefined && !this.#topics.has(topic)) continue
        infos.push({ topic, messages: stored?.messageCount, bytes: undefined, oldestAt: undefined })
      }
      return infos
    })
  }

  async groups(topic?: string): Promise<readonly GroupInfo[]> {
    const live = await this.#parts.live()
    await this.#discover(live)
    const records = this.#parts.groups
      .list()
      .filter(
        (record) =>
          topic === undefined ||
          record.topic === topic ||
          (isPattern(record.topic) && compilePattern(record.topic)(topic)),
      )
    return this.#declaring(live, async (declaring) => {
      const infos: GroupInfo[] = []
      // Of a group whose topics share its queues, all topics have the same counts.
      const shared = new Map<string, GroupInfo | undefined>()
      for (const record of records) {
        const { topic, group, layout } = record
        const known = layout?.perGroup === true && shared.has(group)
        const info = known ? shared.get(group) : await this.#infoOf(declaring, record)
        if (layout?.perGroup === true) shared.set(group, info)
        if (info !== undefined)
          infos.push({ ...info, topic, lag: (info.lag ?? 0) + this.#parts.delayed.count(topic, group) })
      }
      return infos
    })
  }

  /** Reads which groups there are; of some of them, this process knows more. */
  async #discover(live: LiveConnection): Promise<void> {
    const { registry, groups } = this.#parts
    const records = await this.#told('Listing the groups', () => registry.list(live))
    for (const { topic, group, layout } of records) groups.set(topic, group, layout)
  }

  async seek(topic: string, group: string, _to: StartFrom): Promise<void> {
    throw new UnsupportedError(
      `rabbitmq can't move the group "${group}" of "${topic}": a queue forgets what was acked. Use a transport that keeps a log`,
    )
  }

  async read(
    topic: string,
    { after, limit }: { readonly after?: Position | undefined; readonly limit: number },
  ): Promise<readonly StoredMessage[]> {
    return this.#told(`Reading "${topic}"`, () => this.#reader(topic).read(after, limit))
  }

  async remove(topic: string, positions: readonly Position[]): Promise<number> {
    return this.#told(`Removing from "${topic}"`, () => this.#reader(topic).remove(positions))
  }

  async purge(topic: string): Promise<number | undefined> {
    const live = await this.#parts.live()
    await this.#discover(live)
    const queues: string[] = []
    await this.#declaring(live, async (declaring) => {
      for (const record of this.#parts.groups.list()) {
        if (record.topic !== topic) continue
        if (record.layout?.perGroup === true && this.#hasOtherTopics(record))
          throw new UnsupportedError(
            `rabbitmq can't purge "${topic}": the group "${record.group}" has its messages in the same queues as those of its other topics (queues: 'per-group'). Delete the topic from the group, bus.admin().deleteGroup("${topic}", "${record.group}"): its members then dead-letter what is left`,
          )
        queues.push(...queuesOf(this.#firstOf(record), await this.#layoutOf(declaring, record)))
      }
    })
    if (isDeadLetterTopic(topic)) {
      await this.#readers.get(topic)?.close()
      queues.push(this.#parts.names.storage(topic))
    }
    return this.#declaring(live, async (declaring) => {
      let purged = 0
      for (const queue of queues) {
        const exists = await declaring.exists(async (channel) => {
          purged += (await channel.purgeQueue(queue)).messageCount
        })
        if (!exists) continue
      }
      return purged
    })
  }

  async deleteGroup(topic: string, group: string): Promise<void> {
    const { names, groups, registry } = this.#parts
    const live = await this.#parts.live()
    await this.#discover(live)
    const layout = groups.get(topic, group)?.layout
    await this.#told('Forgetting a group', () => registry.remove(live, topic, group))
    groups.delete(topic, group)
    const isShared = layout?.perGroup === true
    // Its queues go with its last topic.
    const others = this.#hasOtherTopics({ topic, group })
    await this.#declaring(live, async (declaring) => {
      if (isShared) await unbindTopic(declaring, names, group, topic, layout)
      if (isShared && others) return
      const place = isShared ? ALL_TOPICS : topic
      const first = names.group(place, group)
      // The first queue goes first: where it is, the others must be too.
      const count = await countQueues(declaring, first)
      for (const queue of queuesOf(first, { order: 'key', partitions: count }))
        await declaring.exists((channel) => channel.deleteQueue(queue))
      if (isShared || isPattern(topic))
        for (const exchange of Object.values(names.spread(place, group)))
          await declaring.exists((channel) => channel.deleteExchange(exchange))
      for (let each = 0; each < PLACES; each++)
        await declaring.exists((channel) => channel.deleteQueue(names.notes(place, group, each)))
    })
  }

  async close(): Promise<void> {
    await Promise.all([...this.#readers.values()].map((reader) => reader.close()))
  }

  // --- details ---------------------------------------------------------------------------------------------------------

  async #infoOf(declaring: DeclareChannel, record: GroupRecord): Promise<GroupInfo | undefined> {
    const { topic, group } = record
    const layout = await this.#layoutOf(declaring, record)
    const ours = [...this.#parts.subscriptions].filter(
      ({ nature, spec }) =>
        spec.group === group && (layout.perGroup === true ? nature.isPerGroup : spec.topic === topic),
    )
    const partitions: QueueInfo[] = []
    // The broker does not count those that stand by.
    let members = Math.max(0, ...ours.map(({ assignment }) => assignment.memberCount))
    const isAsked = members === 0 && layout.partitions > 1
    for (const queue of queuesOf(this.#firstOf(record), layout)) {
      const count = await this.#count(declaring, queue)
      // Deleted by hand, or never made.
      if (count === undefined) return undefined
      members = Math.max(members, count.consumerCount)
      partitions.push(partitionInfo(queue, count, ours, layout))
    }
    const { members: channel, clock, blockedBy } = this.#parts
    // While the broker blocks publishers, no member can be asked.
    if (isAsked && members > 0 && blockedBy() === undefined)
      members = Math.max(members, await countMembers(channel, clock, declaring.live, this.#firstOf(record)))
    const inFlight = partitions.map((partition) => partition.inFlight)
    return {
      topic,
      group,
      lag: sum(partitions.map(({ lag }) => lag)),
      inFlight: inFlight.includes(undefined) ? undefined : sum(inFlight.map(Number)),
      ready: sum(partitions.map(({ ready }) => ready)),
      members,
      oldestUnackedAt: undefined,
      partitions,
    }
  }

  /** Of a group whose topics share its queues. */
  #hasOtherTopics({ topic, group }: Pick<GroupRecord, 'topic' | 'group'>): boolean {
    return this.#parts.groups
      .list()
      .some((other) => other.group === group && other.topic !== topic && other.layout?.perGroup === true)
  }

  #firstOf({ topic, group, layout }: GroupRecord): string {
    return this.#parts.names.group(layout?.perGroup === true ? ALL_TOPICS : topic, group)
  }

  /** The layout, as far as it matters here: of a group that others have declared, how many queues there are. */
  async #layoutOf(declaring: DeclareChannel, record: GroupRecord): Promise<GroupLayout> {
    if (record.layout !== undefined) return record.layout
    const partitions = await countQueues(declaring, this.#firstOf(record))
    const layout: GroupLayout = { order: partitions > 1 ? 'key' : 'none', partitions: Math.max(1, partitions) }
    if (partitions > 0) this.#parts.groups.set(record.topic, record.group, layout)
    return layout
  }

  async #count(declaring: DeclareChannel, queue: string): Promise<QueueCount | undefined> {
    try {
      return await declaring.run((channel) => channel.checkQueue(queue))
    } catch (error) {
      if (replyCode(error) === REPLY.notFound) return undefined
      throw error
    }
  }

  #reader(topic: string): StorageReader {
    if (!isDeadLetterTopic(topic))
      throw new UnsupportedError(
        `rabbitmq can't read "${topic}": its messages are in the queues of its groups alone. Dead-letter topics (.dlq) can be read`,
      )
    const [, source, group] = /^(.*)\.([^.]+)\.dlq$/.exec(topic) ?? []
    if (source !== undefined && group !== undefined) this.#parts.groups.set(source, group, undefined)
    let reader = this.#readers.get(topic)
    if (reader === undefined) {
      const { clock, locks, names, live } = this.#parts
      const toMessage = (message: GetMessage): EncodedMessage => toStored(message, topic, clock.now())
      reader = new StorageReader({ clock, locks, queue: names.storage(topic), live, toMessage })
      this.#readers.set(topic, reader)
    }
    return reader
  }

  async #declaring<Result>(
    live: LiveConnection,
    work: (declaring: DeclareChannel) => Promise<Result>,
  ): Promise<Result> {
    const declaring = new DeclareChannel(live)
    try {
      return await this.#told('Asking the broker', () => work(declaring))
    } finally {
      await declaring.close()
    }
  }

  async #told<Result>(doing: string, work: () => Promise<Result>): Promise<Result> {
    try {
      return await work()
    } catch (error) {
      throw BusbarError.is(error) ? error : toBrokerError(error, doing)
    }
  }
}

/** What AMQP says about a queue, and what this process holds of it: it does not report what other members hold. */
function partitionInfo(
  queue: string,
  { messageCount, consumerCount }: QueueCount,
  ours: readonly LiveSubscription[],
  { order }: GroupLayout,
): QueueInfo {
  const readers = ours.flatMap(({ spec, assignment }) =>
    assignment.assignedQueues.flatMap(({ reader }) => (reader.queue === queue ? { reader, id: spec.consumerId } : [])),
  )
  const held = sum(readers.map(({ reader }) => reader.handed + reader.held.length))
  const open = readers.filter(({ reader }) => reader.isOpen)
  const isOurs = consumerCount <= open.length
  // The members agree on the owners of several queues. A single one belongs to its active consumer.
  const agreed = ours.map(({ assignment }) => assignment.ownerOf(queue)).find((owner) => owner !== undefined)
  const only = isOurs && open.length === 1 ? open[0]?.id : undefined
  return {
    partition: queue,
    lag: messageCount + held,
    inFlight: isOurs ? held : undefined,
    ready: messageCount,
    // A queue forgets what was acked, and shows nothing of what it holds.
    position: undefined,
    head: undefined,
    start: undefined,
    oldestUnackedAt: undefined,
    member: order === 'none' ? undefined : (agreed ?? only),
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

function toStored(message: GetMessage, topic: string, now: number): EncodedMessage {
  const arrival = readMessage(new IncomingMessage(), message)
  const encoded = arrival.toEncodedMessage(topic, arrival.id ?? digestOf(message), now)
  const { carried, groupQueue } = arrival
  return withCarried(encoded, groupQueue === undefined ? carried : { ...carried, groupQueue })
}
