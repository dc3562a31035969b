import type { ConsumeMessage, GetMessage } from 'amqplib'
import type { Clock } from '../../core/clock.ts'
import { BusbarError, UnsupportedError } from '../../core/errors.ts'
import type { EncodedMessage } from '../../core/message.ts'
import { compilePattern, deadLetterTopic, isDeadLetterTopic, isPattern } from '../../core/topic.ts'
import type {
  GroupInfo,
  PartitionInfo,
  Position,
  StartFrom,
  StoredMessage,
  TopicInfo,
  TransportAdmin,
} from '../../core/transport.ts'
import { Arrival } from './arrival.ts'
import { withCarried } from './carried-properties.ts'
import type { BrokerLocks } from './broker-lock.ts'
import type { Declarations } from './declarations.ts'
import { DeclareChannel } from './declare-channel.ts'
import type { DelayedCount } from './delayed-count.ts'
import { REPLY, replyCode, toBrokerError } from './errors.ts'
import { digestOf } from './foreign-ids.ts'
import { layoutToken } from './group-layout.ts'
import type { GroupLayout } from './group-layout.ts'
import type { Session } from './link.ts'
import { fillArrival } from './mapping.ts'
import type { Names } from './names.ts'
import { isNodeAway, PLACES, unlessNodeAway } from './places.ts'
import type { GroupRecord, Registry } from './registry.ts'
import { StorageReader } from './storage-reader.ts'
import type { RabbitMqSubscription } from './subscriber.ts'
import { withDeathNotes } from './death-notes.ts'

export interface AdminParts {
  readonly clock: Clock
  readonly names: Names
  readonly locks: BrokerLocks
  readonly registry: Registry
  readonly declarations: Declarations
  readonly delayed: DelayedCount
  readonly subscriptions: ReadonlySet<RabbitMqSubscription>
  readonly session: () => Promise<Session>
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
    const session = await this.#parts.session()
    this.knows(topic)
    // The exchange exists in every session. Only dead-letter topics have their own queue.
    if (isDeadLetterTopic(topic)) await this.#parts.declarations.storage(session, topic)
  }

  async topics(): Promise<readonly TopicInfo[]> {
    const session = await this.#parts.session()
    const records = await this.#parts.registry.list(session)
    const names = new Set(this.#topics)
    for (const { topic, group } of records) {
      if (isPattern(topic)) continue
      names.add(topic)
      names.add(deadLetterTopic(topic, group))
    }
    return this.#declaring(session, async (declaring) => {
      const infos: TopicInfo[] = []
      for (const topic of [...names].sort()) {
        const stored = isDeadLetterTopic(topic)
          ? await this.#count(declaring, this.#parts.names.storage(topic))
          : undefined
        infos.push({ topic, messages: stored?.messageCount, bytes: undefined, oldestAt: undefined })
      }
      return infos
    })
  }

  async groups(topic?: string): Promise<readonly GroupInfo[]> {
    const session = await this.#parts.session()
    const records = (await this.#parts.registry.list(session)).filter(
      (record) =>
        topic === undefined ||
        record.topic === topic ||
        (isPattern(record.topic) && compilePattern(record.topic)(topic)),
    )
    return this.#declaring(session, async (declaring) => {
      const infos: GroupInfo[] = []
      for (const record of records) {
        const info = await this.#infoOf(declaring, record)
        if (info !== undefined) infos.push(info)
      }
      return infos
    })
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
    const session = await this.#parts.session()
    const records = (await this.#parts.registry.list(session)).filter((record) => record.topic === topic)
    const queues = records.flatMap((record) => this.#queuesOf(record))
    if (isDeadLetterTopic(topic)) {
      await this.#readers.get(topic)?.close()
      queues.push(this.#parts.names.storage(topic))
    }
    return this.#declaring(session, async (declaring) => {
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
    const { names, registry } = this.#parts
    const session = await this.#parts.session()
    const records = await registry.remove(session, topic, group)
    await this.#declaring(session, async (declaring) => {
      const exchange = names.group(topic, group)
      for (const record of records) {
        for (const queue of this.#queuesOf(record)) await declaring.exists((channel) => channel.deleteQueue(queue))
        await declaring.exists((channel) => channel.deleteExchange(`${exchange}:${layoutToken(record.layout)}`))
      }
      for (const name of [exchange, names.members(topic, group, 0)])
        await declaring.exists((channel) => channel.deleteExchange(name))
      for (let place = 0; place < PLACES; place++)
        for (const queue of [names.notes(topic, group, place), names.members(topic, group, place)])
          await declaring.exists((channel) => channel.deleteQueue(queue))
    })
  }

  async close(): Promise<void> {
    await Promise.all([...this.#readers.values()].map((reader) => reader.close()))
  }

  // --- details ---------------------------------------------------------------------------------------------------------

  async #infoOf(declaring: DeclareChannel, record: GroupRecord): Promise<GroupInfo | undefined> {
    const { topic, group, layout } = record
    const ours = [...this.#parts.subscriptions].filter(({ spec }) => spec.topic === topic && spec.group === group)
    const partitions: QueueInfo[] = []
    let members = 0
    for (const queue of this.#queuesOf(record)) {
      const count = await this.#count(declaring, queue)
      // Deleted by hand.
      if (count === undefined) return undefined
      members = Math.max(members, count.consumerCount)
      partitions.push(partitionInfo(queue, count, ours, layout))
    }
    if (layout.partitions > 1) members = await this.#countMembers(declaring.session, topic, group)
    const inFlight = partitions.map((partition) => partition.inFlight)
    return {
      topic,
      group,
      lag: sum(partitions.map(({ lag }) => lag)) + this.#parts.delayed.count(topic, group),
      inFlight: inFlight.includes(undefined) ? undefined : sum(inFlight.map(Number)),
      ready: sum(partitions.map(({ ready }) => ready)),
      members,
      oldestUnackedAt: undefined,
      partitions,
    }
  }

  async #countMembers(session: Session, topic: string, group: string): Promise<number> {
    const { names, clock } = this.#parts
    let members = 0
    for (let place = 0; place < PLACES; place++) {
      const declaring = new DeclareChannel(session)
      try {
        const counting = declaring.run((channel) => channel.checkQueue(names.members(topic, group, place)))
        members += (await unlessNodeAway(clock, session, counting)).consumerCount
      } catch (error) {
        if (isNodeAway(error)) continue
        if (replyCode(error) !== REPLY.notFound) throw error
        break
      } finally {
        void declaring.close()
      }
    }
    return members
  }

  #queuesOf({ topic, group, layout }: GroupRecord): string[] {
    const { names } = this.#parts
    return layout.order === 'key'
      ? Array.from({ length: layout.partitions }, (_, partition) => names.partition(topic, group, partition))
      : [names.group(topic, group)]
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
        `rabbitmq can't read "${topic}": its messages lie in the queues of its groups alone. Dead-letter topics (.dlq) can be read`,
      )
    let reader = this.#readers.get(topic)
    if (reader === undefined) {
      const { clock, locks, names, session } = this.#parts
      const toMessage = (message: GetMessage): EncodedMessage => toStored(message, topic, names, clock.now())
      reader = new StorageReader({ clock, locks, queue: names.storage(topic), session, toMessage })
      this.#readers.set(topic, reader)
    }
    return reader
  }

  async #declaring<Result>(session: Session, work: (declaring: DeclareChannel) => Promise<Result>): Promise<Result> {
    const declaring = new DeclareChannel(session)
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
  ours: readonly RabbitMqSubscription[],
  { order }: GroupLayout,
): QueueInfo {
  const readers = ours.flatMap(({ spec, intake }) =>
    intake.seats.flatMap(({ reader }) => (reader.queue === queue ? { reader, id: spec.consumerId } : [])),
  )
  const held = sum(readers.map(({ reader }) => reader.handed + reader.held.length))
  const open = readers.filter(({ reader }) => reader.isOpen)
  const isOurs = consumerCount <= open.length
  // The members agree on the owners of several queues. A single one belongs to its active consumer.
  const agreed = ours.map(({ intake }) => intake.ownerOf(queue)).find((owner) => owner !== undefined)
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

function toStored(message: GetMessage, topic: string, names: Names, now: number): EncodedMessage {
  const arrival = fillArrival(new Arrival(), message)
  const encoded = arrival.toEncodedMessage(topic, arrival.id ?? digestOf(message), now)
  return withDeathNotes(withCarried(encoded, arrival.carried), message as unknown as ConsumeMessage, names)
}
