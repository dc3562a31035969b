import type { ShareAcknowledgeRequest, ShareFetchRequest } from '../../protocol/generated/api-types.ts'

/** What becomes of an acquired record. */
export type Verdict = 'accept' | 'release' | 'reject'

/** What is said about an offset: a verdict, that the lock is still needed, or that there is no record. */
export type Acknowledgement = Verdict | 'renew' | 'gap'

export interface SharePartition {
  readonly topicId: string
  readonly partition: number
}

type Topics = ShareFetchRequest['topics']
type Part = Pick<ShareFetchRequest, 'shareSessionEpoch' | 'topics' | 'forgottenTopicsData'>
type AcknowledgePart = Pick<ShareAcknowledgeRequest, 'shareSessionEpoch' | 'topics' | 'isRenewAck'>

const TYPES: Readonly<Record<Acknowledgement, number>> = { gap: 0, accept: 1, release: 2, reject: 3, renew: 4 }
const FINAL_EPOCH = -1
const MAX_EPOCH = 0x7fff_ffff

/** What was said in one request. Each offset is in it once. */
export type Said = ReadonlyMap<string, ReadonlyMap<number, Acknowledgement>>

/**
 * What one broker remembers of a member of a share group: partitions, and the records that it has acquired (KIP-932). What is said about a
 * record belongs to the session in which it was acquired, and is dropped with it: the broker delivers the record again.
 * One request at a time. Pure.
 */
export class ShareSession {
  #epoch = 0
  /** Counts sessions. */
  #generation = 0
  #known = new Map<string, SharePartition>()
  #partitions = new Map<string, SharePartition>()
  #pending = new Map<string, Map<number, Acknowledgement>>()

  /** Records that are acquired now belong to it. */
  get generation(): number {
    return this.#generation
  }

  /** A broker refuses acknowledgements in the request that makes a session. */
  get isNew(): boolean {
    return this.#epoch === 0
  }

  get hasPending(): boolean {
    return this.#pending.size > 0
  }

  /** Goes with the next request. A renewal gives way to a verdict, a verdict to nothing: false if it comes too late. */
  say(partition: SharePartition, offset: number, what: Acknowledgement, generation: number): boolean {
    if (generation !== this.#generation) return false
    const key = keyOf(partition)
    this.#partitions.set(key, partition)
    const offsets = this.#pending.get(key) ?? new Map<number, Acknowledgement>()
    const before = offsets.get(offset)
    if (before !== undefined && before !== 'renew') return false
    offsets.set(offset, what)
    this.#pending.set(key, offsets)
    return true
  }

  /** The next fetch, with what was said; each call is followed by `answered` or `lost`. */
  fetch(wanted: readonly SharePartition[]): { readonly part: Part; readonly said: Said } {
    const said = this.isNew ? new Map<string, Map<number, Acknowledgement>>() : this.#takePending(false)
    const now = new Map(wanted.map((each) => [keyOf(each), each]))
    const added = wanted.filter((each) => this.isNew || !this.#known.has(keyOf(each)))
    const forgotten = this.isNew ? [] : [...this.#known].filter(([key]) => !now.has(key)).map(([, each]) => each)
    // Whatever a fetch names is read from then on, also what is named for a verdict only.
    const named = [...said.keys()].flatMap((key) => this.#partitions.get(key) ?? [])
    this.#known = new Map([...now, ...named.map((each) => [keyOf(each), each] as const)])
    const topics = this.#topicsOf(said, added)
    const forgottenTopicsData = [...Map.groupBy(forgotten, ({ topicId }) => topicId)].map(([topicId, group]) => ({
      topicId,
      partitions: group.map(({ partition }) => partition),
    }))
    return { part: { shareSessionEpoch: this.#epoch, topics, forgottenTopicsData }, said }
  }

  /** What was said, without a fetch. With `isFinal`, the broker ends the session and releases the rest. */
  acknowledge(isFinal: boolean): { readonly part: AcknowledgePart; readonly said: Said } {
    const said = this.#takePending(true)
    const shareSessionEpoch = isFinal ? FINAL_EPOCH : this.#epoch
    const isRenewAck = [...said.values()].some((offsets) => [...offsets.values()].includes('renew'))
    return { part: { shareSessionEpoch, topics: this.#topicsOf(said, []), isRenewAck }, said }
  }

  answered(): void {
    if (this.#epoch === 0) this.#generation++
    this.#epoch = this.#epoch < MAX_EPOCH ? this.#epoch + 1 : 1
  }

  /** The broker does not know the session any more, or may not have taken the last request. */
  lost(): void {
    if (this.#epoch !== 0) this.#generation++
    this.#epoch = 0
    this.#known.clear()
    this.#pending.clear()
  }

  /** Renewals go alone: a fetch may not carry them. */
  #takePending(withRenewals: boolean): Map<string, Map<number, Acknowledgement>> {
    const said = this.#pending
    this.#pending = new Map()
    if (withRenewals) return said
    for (const [key, offsets] of said) {
      for (const [offset, what] of offsets) {
        if (what !== 'renew') continue
        offsets.delete(offset)
        const kept = this.#pending.get(key) ?? new Map<number, Acknowledgement>()
        this.#pending.set(key, kept.set(offset, what))
      }
      if (offsets.size === 0) said.delete(key)
    }
    return said
  }

  #topicsOf(said: Said, added: readonly SharePartition[]): Topics {
    const all = new Map(added.map((each) => [keyOf(each), each]))
    for (const key of said.keys()) {
      const partition = this.#partitions.get(key)
      if (partition !== undefined) all.set(key, partition)
    }
    return [...Map.groupBy(all.values(), ({ topicId }) => topicId)].map(([topicId, group]) => ({
      topicId,
      partitions: group.map((each) => ({
        partitionIndex: each.partition,
        acknowledgementBatches: batchesOf(said.get(keyOf(each)) ?? new Map()),
      })),
    }))
  }
}

/** Names a partition in what was said. */
export function keyOf({ topicId, partition }: SharePartition): string {
  return `${partition} ${topicId}`
}

/** Runs of offsets about which the same is said. */
function batchesOf(offsets: ReadonlyMap<number, Acknowledgement>) {
  const batches: { firstOffset: number; lastOffset: number; acknowledgeTypes: number[] }[] = []
  for (const [offset, what] of [...offsets].sort(([a], [b]) => a - b)) {
    const last = batches.at(-1)
    const type = TYPES[what]
    if (last?.lastOffset === offset - 1 && last.acknowledgeTypes[0] === type) last.lastOffset = offset
    else batches.push({ firstOffset: offset, lastOffset: offset, acknowledgeTypes: [type] })
  }
  return batches
}
