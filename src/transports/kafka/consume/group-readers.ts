import type { KafkaContext } from '../context.ts'
import { GroupReader } from './group-reader.ts'
import { GroupStarts, topicsOf } from './group-starts.ts'
import type { WantedTopic } from './group-starts.ts'
import { checkStrictOrder } from './strict-order.ts'
import type { KafkaSubscription } from './subscription.ts'

/** A group of the broker, and what this process reads of it. */
interface ReadGroup {
  readonly starts: GroupStarts
  reader: GroupReader | undefined
  /** To be read, too: those of one turn of the event loop join together. */
  joining: Joining[]
  isJoining: boolean
}

interface Joining {
  readonly subscription: KafkaSubscription
  readonly joined: PromiseWithResolvers<void>
}

/** The readers of an open transport: one for each group, whatever the number of its topics, and one for each broadcast. */
export class GroupReaders {
  readonly #context: KafkaContext
  readonly #groups = new Map<string, ReadGroup>()
  readonly #readers = new Set<GroupReader>()
  readonly #closing = new AbortController()

  constructor(context: KafkaContext) {
    this.#context = context
  }

  /** Resolves when everything that is published from then on reaches the group. */
  join(subscription: KafkaSubscription): Promise<void> {
    const { ephemeral, group } = subscription.spec
    if (ephemeral) return this.#joinAlone(subscription)
    const groupId = this.#context.groupId(group)
    let read = this.#groups.get(groupId)
    if (read === undefined) this.#groups.set(groupId, (read = this.#newGroup(groupId)))
    const joined = Promise.withResolvers<void>()
    read.joining.push({ subscription, joined })
    void this.#joinAll(groupId, read)
    return joined.promise
  }

  /** Ends what is still going on. */
  abort(): void {
    this.#closing.abort()
    for (const reader of this.#readers) reader.abort()
  }

  #newGroup(groupId: string | undefined): ReadGroup {
    return { starts: new GroupStarts(this.#context, groupId), reader: undefined, joining: [], isJoining: false }
  }

  async #joinAlone(subscription: KafkaSubscription): Promise<void> {
    const refused = await this.#begin(this.#newGroup(undefined), undefined, [subscription])
    if (refused.has(subscription)) throw refused.get(subscription)
  }

  async #joinAll(groupId: string, group: ReadGroup): Promise<void> {
    if (group.isJoining) return
    group.isJoining = true
    await new Promise(setImmediate)
    while (group.joining.length > 0) {
      const joining = group.joining.splice(0)
      try {
        const refused = await this.#begin(
          group,
          groupId,
          joining.map(({ subscription }) => subscription),
        )
        for (const { subscription, joined } of joining) {
          if (refused.has(subscription)) joined.reject(refused.get(subscription))
          else joined.resolve()
        }
      } catch (error) {
        for (const { joined } of joining) joined.reject(error)
      }
    }
    group.isJoining = false
  }

  /** Returns those that can't begin, and why: the others do. */
  async #begin(
    group: ReadGroup,
    groupId: string | undefined,
    subscriptions: readonly KafkaSubscription[],
  ): Promise<ReadonlyMap<KafkaSubscription, unknown>> {
    const topics = new Map<KafkaSubscription, readonly WantedTopic[]>()
    const refused = new Map<KafkaSubscription, unknown>()
    for (const subscription of subscriptions) {
      try {
        topics.set(subscription, await this.#topicsOf(subscription))
      } catch (error) {
        refused.set(subscription, error)
      }
    }
    const { begunLater, failed } = await group.starts.prepare([...topics.values()].flat())
    for (const [subscription, wanted] of topics) {
      const unclear = wanted.find((each) => failed.has(each))
      if (unclear !== undefined) refused.set(subscription, failed.get(unclear))
    }
    const accepted = subscriptions.filter((subscription) => !refused.has(subscription))
    if (accepted.length === 0) return refused
    const reader = await this.#join(group, groupId, accepted)
    if (groupId !== undefined) await group.starts.whenBegun(begunLater, this.#closing.signal)
    await reader.whenReading(accepted)
    return refused
  }

  /** Those of a pattern that are there already. */
  async #topicsOf({ spec, isPattern, matches }: KafkaSubscription): Promise<readonly WantedTopic[]> {
    if (!isPattern) return [{ topic: spec.topic, from: spec.from }]
    const wanted = await topicsOf(this.#context, spec, matches)
    if (spec.order === 'strict')
      await checkStrictOrder(
        this.#context,
        wanted.map(({ topic }) => topic),
      )
    return wanted
  }

  async #join(
    group: ReadGroup,
    groupId: string | undefined,
    subscriptions: readonly KafkaSubscription[],
  ): Promise<GroupReader> {
    for (;;) {
      this.#closing.signal.throwIfAborted()
      const reader = (group.reader ??= this.#newReader(group, groupId))
      if (await reader.join(subscriptions)) return reader
      // One that leaves is out of the group before the next one joins: with a static id, that would throw it out.
      await reader.ended
    }
  }

  #newReader(group: ReadGroup, groupId: string | undefined): GroupReader {
    const { starts } = group
    const reader: GroupReader = new GroupReader({
      context: this.#context,
      groupId,
      beginning: (topic, partition) => starts.beginning(topic, partition),
      recreated: (topic) => starts.forget(topic),
      partitionsOf: (topic) => starts.partitionsOf(topic),
      ended: () => {
        this.#readers.delete(reader)
        if (group.reader === reader) group.reader = undefined
      },
    })
    this.#readers.add(reader)
    return reader
  }
}
