import { sleep } from '../../../core/clock.ts'
import type { StartFrom, SubscriptionSpec } from '../../../core/transport.ts'
import { KafkaError } from '../../../kafka/index.ts'
import type { GroupOffset, NewGroupOffset } from '../../../kafka/index.ts'
import { inTurns } from '../admin/in-turns.ts'
import { repeatInDoubt } from '../admin/repeat-in-doubt.ts'
import { startOffsets } from '../admin/start-offsets.ts'
import { topicHashes } from '../admin/topic-hashes.ts'
import type { KafkaContext } from '../context.ts'
import { decodeRecord, encodeRecord } from '../partitions/commit-record.ts'

/** How long a new group is waited for whose beginning only its members can commit. */
const COMMITTED_MS = 10_000
const LOOK_MS = 50

/** A topic that a subscription of the group reads, and from where if the group is new there. */
export interface WantedTopic {
  readonly topic: string
  readonly from: StartFrom
}

/** What came of preparing topics. */
export interface PreparedStarts {
  /** The group will have begun with these only when its members have: `whenBegun` waits for that. */
  readonly begunLater: readonly string[]
  /** Where these begin can't be told, and why. */
  readonly failed: ReadonlyMap<WantedTopic, unknown>
}

/**
 * Where a group begins in topics that are new to it. Decided when a member subscribes, so that what is published from then on is
 * for the group, and committed at once where that is possible: while the group has no members.
 */
export class GroupStarts {
  readonly #context: KafkaContext
  readonly #groupId: string | undefined
  /** By partition, of topics that were there. Of all others, everything is for the group. */
  readonly #offsets = new Map<string, number>()
  readonly #counts = new Map<string, number>()

  constructor(context: KafkaContext, groupId: string | undefined) {
    this.#context = context
    this.#groupId = groupId
  }

  beginning(topic: string, partition: number): number {
    return this.#offsets.get(`${topic}/${partition}`) ?? 0
  }

  partitionsOf(topic: string): number {
    return this.#counts.get(topic) ?? 0
  }

  /** It was made again: all that is in it is for the group. */
  forget(topic: string): void {
    for (let partition = 0; partition < this.partitionsOf(topic); partition++)
      this.#offsets.delete(`${topic}/${partition}`)
    this.#counts.delete(topic)
  }

  async prepare(wanted: readonly WantedTopic[]): Promise<PreparedStarts> {
    const committed = this.#groupId === undefined ? [] : await this.#committed()
    const begun = new Map<string, ReadonlyMap<number, number>>()
    const failed = new Map<WantedTopic, unknown>()
    const byTopic = Map.groupBy(committed, ({ topic }) => topic)
    const complete = await this.#complete(wanted, byTopic)
    const open = wanted.filter(({ topic }) => !complete.has(topic))
    await inTurns(open, async (each) => {
      try {
        await this.#prepareOne(each, byTopic.get(each.topic) ?? [], begun)
      } catch (error) {
        failed.set(each, error)
      }
    })
    return { begunLater: await this.#commit(begun), failed }
  }

  /** Topics of which the group has committed every partition: where those begin is known. One request, however many there are. */
  async #complete(
    wanted: readonly WantedTopic[],
    committed: ReadonlyMap<string, readonly GroupOffset[]>,
  ): Promise<ReadonlySet<string>> {
    const complete = new Set<string>()
    const names = [...new Set(wanted.map(({ topic }) => topic))].filter((topic) => committed.has(topic))
    if (names.length === 0) return complete
    // One that is missing is found out when it is asked for by itself.
    const infos = await this.#context.client
      .admin()
      .topics.describe(names)
      .catch(() => [])
    for (const { name, partitions } of infos) {
      const known = committed.get(name) ?? []
      const there = new Set(known.map(({ partition }) => partition))
      if (!Array.from(partitions, (_, index) => index).every((index) => there.has(index))) continue
      complete.add(name)
      this.#counts.set(name, coveredBy(known))
    }
    return complete
  }

  async #prepareOne(
    { topic, from }: WantedTopic,
    known: readonly GroupOffset[],
    begun: Map<string, ReadonlyMap<number, number>>,
  ): Promise<void> {
    const covered = coveredBy(known)
    // A group that is known has missed all of a partition where it has committed nothing: one that came later, or had no message.
    const begins = known.length > 0 ? 'earliest' : from
    const found = await startOffsets(this.#context.client.admin(), topic, begins)
    this.#counts.set(topic, covered === 0 ? found.size : covered)
    for (const [partition, offset] of found) this.#offsets.set(`${topic}/${partition}`, offset)
    if (known.length === 0) begun.set(topic, found)
  }

  /** Returns those that only a member can commit. */
  async #commit(begun: ReadonlyMap<string, ReadonlyMap<number, number>>): Promise<readonly string[]> {
    if (this.#groupId === undefined || begun.size === 0) return []
    const topics = [...begun.keys()]
    const admin = this.#context.client.admin()
    const hashes = await topicHashes(admin, topics)
    try {
      const starts = [...begun].flatMap(([topic, offsets]) => this.#startsOf(topic, hashes.get(topic) ?? 0, offsets))
      const group = this.#groupId
      await repeatInDoubt(() => admin.offsets.alter(group, starts))
      return []
    } catch (error) {
      if (error instanceof KafkaError && error.code === 'NON_EMPTY_GROUP') return topics
      throw error
    }
  }

  /** Resolves when the group has a position in all partitions of these topics. */
  async whenBegun(topics: readonly string[], signal: AbortSignal): Promise<void> {
    const { clock } = this.#context.host
    const end = clock.monotonic() + COMMITTED_MS
    for (let pauseMs = LOOK_MS; topics.length > 0 && clock.monotonic() < end; pauseMs = Math.min(2 * pauseMs, 500)) {
      const committed = await this.#committed()
      const names = new Set(committed.map(({ topic, partition }) => `${topic}/${partition}`))
      const isBegun = (topic: string): boolean =>
        Array.from({ length: this.partitionsOf(topic) }, (_, at) => `${topic}/${at}`).every((name) => names.has(name))
      if (topics.every(isBegun)) return
      await sleep(clock, pauseMs, signal)
    }
  }

  #committed(): Promise<readonly GroupOffset[]> {
    return this.#context.client.admin().offsets.list(this.#groupId ?? '')
  }

  #startsOf(topic: string, hash: number, offsets: ReadonlyMap<number, number>): NewGroupOffset[] {
    // Moves that were asked for before this are of a former group of that name.
    const moved = this.#context.host.clock.now()
    const common = { topic: hash, owner: '', free: true, moved, partitions: offsets.size, open: [], notes: [] }
    return [...offsets].map(([partition, offset]) => {
      const metadata = encodeRecord({ ...common, floor: offset, to: offset, claim: offset })
      return { topic, partition, offset, metadata }
    })
  }
}

/** How many partitions the group began with, as its records say; all that it has commits for, if they are of another program. */
function coveredBy(known: readonly GroupOffset[]): number {
  let covered = 0
  for (const { offset, metadata, partition } of known)
    covered = Math.max(covered, decodeRecord(metadata, offset)?.partitions ?? 0, partition + 1)
  return covered
}

/** What a subscription reads that is there already. */
export async function topicsOf(
  context: KafkaContext,
  spec: SubscriptionSpec,
  matches: (topic: string) => boolean,
): Promise<readonly WantedTopic[]> {
  const names = await context.client.admin().topics.list()
  return names.filter(matches).map((topic): WantedTopic => ({ topic, from: spec.from }))
}
