import { UnsupportedError } from '../../../core/errors.ts'
import type { Admin, KafkaClient } from '../../../kafka/index.ts'
import { REMOVED } from '../wire/mapping.ts'
import { adminOf } from './client-admin.ts'

/** The partition of a dead-letter topic that lists letters which were removed: a log can only be cut off at its start. */
export const REMOVALS = 1

const PAGE = 500

interface Place {
  readonly partition: number
  readonly offset: number
}

/**
 * Removes letters from a dead-letter topic. What is removed at the start of a partition is deleted; of the others, a record in the partition
 * `REMOVALS` says that they are removed, until those before them are, too.
 */
export class DeadLetterLog {
  readonly #client: KafkaClient
  readonly #admin: Admin
  readonly #topic: string

  constructor(client: KafkaClient, topic: string) {
    this.#client = client
    this.#admin = adminOf(client)
    this.#topic = topic
  }

  /** Letters that are removed and still in the log. */
  async removed(): Promise<RemovedLetters> {
    const removed = new RemovedLetters()
    for await (const { offset, places } of this.#removals()) removed.add(places, offset)
    return removed
  }

  /** Resolves with how many of them were there. */
  async remove(places: readonly Place[]): Promise<number> {
    const removed = await this.removed()
    const [starts, ends] = await Promise.all([this.#offsets('earliest'), this.#offsets('latest')])
    const fresh = new RemovedLetters()
    for (const { partition, offset } of places) {
      const isStored = offset >= (starts.get(partition) ?? Infinity) && offset < (ends.get(partition) ?? 0)
      if (partition !== REMOVALS && isStored && !removed.has(partition, offset)) fresh.add([{ partition, offset }], -1)
    }
    if (fresh.size === 0) return 0
    const firstKept = new Map<number, number>()
    for (const partition of fresh.partitions) {
      const isGone = (offset: number): boolean => removed.has(partition, offset) || fresh.has(partition, offset)
      firstKept.set(partition, await this.#firstKept(partition, starts.get(partition) ?? 0, isGone))
    }
    const amid = fresh.places.filter(({ partition, offset }) => offset >= (firstKept.get(partition) ?? 0))
    if (amid.length > 0) await this.#note(amid, ends.has(REMOVALS))
    await this.#cut(firstKept, starts)
    await this.#cutRemovals(removed, firstKept)
    return fresh.size
  }

  async #note(places: readonly Place[], canNote: boolean): Promise<void> {
    if (!canNote) {
      const remedy = `give it a second partition, or remove them from the oldest on`
      throw new UnsupportedError(
        `Dead letters amid others can't be removed from "${this.#topic}", which has one partition: ${remedy}`,
      )
    }
    await using producer = this.#client.producer()
    for (let at = 0; at < places.length; at += PAGE) {
      const value = JSON.stringify(places.slice(at, at + PAGE).map(({ partition, offset }) => [partition, offset]))
      const headers = [{ key: REMOVED, value: '1' }]
      await producer.send({ topic: this.#topic, partition: REMOVALS, value, headers })
    }
  }

  async #cut(firstKept: ReadonlyMap<number, number>, starts: ReadonlyMap<number, number>): Promise<void> {
    const moved = [...firstKept].filter(([partition, offset]) => offset > (starts.get(partition) ?? 0))
    if (moved.length > 0) await this.#admin.records.deleteBefore(this.#topic, Object.fromEntries(moved))
  }

  /** Records of removals that name no letter which is still in the log. */
  async #cutRemovals(removed: RemovedLetters, firstKept: ReadonlyMap<number, number>): Promise<void> {
    const needed = removed.firstRecord(({ partition, offset }) => offset >= (firstKept.get(partition) ?? 0))
    const before = needed ?? removed.nextRecord
    if (removed.size > 0 && before > (removed.firstRecord(() => true) ?? 0))
      await this.#admin.records.deleteBefore(this.#topic, { [REMOVALS]: before })
  }

  /** The first letter from `start` on that stays, or the end. */
  async #firstKept(partition: number, start: number, isGone: (offset: number) => boolean): Promise<number> {
    let offset = start
    for (;;) {
      const { records, nextOffset, endOffset } = await this.#admin.records.read(
        { topic: this.#topic, partition, offset },
        { maxRecords: PAGE },
      )
      const kept = records.find((record) => !isGone(record.offset))
      if (kept !== undefined) return kept.offset
      if (nextOffset >= endOffset || nextOffset === offset) return nextOffset
      offset = nextOffset
    }
  }

  async *#removals(): AsyncGenerator<{ readonly offset: number; readonly places: readonly Place[] }> {
    const start = (await this.#offsets('earliest')).get(REMOVALS)
    if (start === undefined) return
    for (let offset = start, end = Infinity; offset < end;) {
      const page = await this.#admin.records.read(
        { topic: this.#topic, partition: REMOVALS, offset },
        { maxRecords: PAGE },
      )
      for (const record of page.records) {
        if (record.headers.some(({ key }) => key === REMOVED))
          yield { offset: record.offset, places: placesIn(record.valueText ?? '') }
      }
      end = page.nextOffset === offset ? offset : page.endOffset
      offset = page.nextOffset
    }
  }

  async #offsets(at: 'earliest' | 'latest'): Promise<ReadonlyMap<number, number>> {
    const found = await this.#admin.records.offsets(this.#topic, at)
    return new Map(found.map(({ partition, offset }) => [partition, offset]))
  }
}

/** Places of letters, and the records that have named them. */
export class RemovedLetters {
  readonly #recordOf = new Map<string, number>()
  readonly #places: Place[] = []
  /** Behind the last record that has named some. */
  nextRecord = 0

  get size(): number {
    return this.#places.length
  }

  get places(): readonly Place[] {
    return this.#places
  }

  get partitions(): ReadonlySet<number> {
    return new Set(this.#places.map(({ partition }) => partition))
  }

  add(places: readonly Place[], record: number): void {
    this.nextRecord = record + 1
    for (const place of places) {
      const key = `${place.partition} ${place.offset}`
      if (this.#recordOf.has(key)) continue
      this.#recordOf.set(key, record)
      this.#places.push(place)
    }
  }

  has(partition: number, offset: number): boolean {
    return this.#recordOf.has(`${partition} ${offset}`)
  }

  /** The first record that names such a letter. */
  firstRecord(isMeant: (place: Place) => boolean): number | undefined {
    const place = this.#places.find(isMeant)
    return place === undefined ? undefined : this.#recordOf.get(`${place.partition} ${place.offset}`)
  }
}

/** What another program has written there names nothing. */
function placesIn(text: string): readonly Place[] {
  try {
    const pairs: unknown = JSON.parse(text)
    if (!Array.isArray(pairs)) return []
    return pairs.flatMap((pair: unknown) => {
      const [partition, offset] = Array.isArray(pair) ? (pair as unknown[]) : []
      const isPlace = Number.isSafeInteger(partition) && Number.isSafeInteger(offset)
      return isPlace ? [{ partition: partition as number, offset: offset as number }] : []
    })
  } catch {
    return []
  }
}
