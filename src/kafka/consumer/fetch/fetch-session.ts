import type { FetchRequest, FetchResponse } from '../../protocol/generated/api-types.ts'

/** A partition as the next fetch should read it. */
export interface FetchWish {
  /** Names it among those of the session. */
  readonly key: string
  readonly topic: string
  readonly topicId: string | undefined
  readonly partition: number
  readonly offset: number
  /** Of the leader that this client knows; -1 if the cluster is too old. */
  readonly leaderEpoch: number
  /** Of the record before `offset`: a leader that has another there says where they part (KIP-320). */
  readonly lastEpoch: number
  readonly maxBytes: number
}

type SessionPart = Pick<FetchRequest, 'sessionId' | 'sessionEpoch' | 'topics' | 'forgottenTopicsData'>

const FIRST_VERSION_WITH_SESSIONS = 7
const FIRST_VERSION_WITH_LAST_EPOCH = 12
const FIRST_VERSION_WITH_IDS = 13
const FINAL_EPOCH = -1
const MAX_EPOCH = 0x7fff_ffff

/**
 * What one broker remembers of the fetches that it was sent, so that only changes go over the wire (KIP-227). After an error or a lost
 * answer everything is sent again, in a session that takes the place of the former. Pure.
 */
export class FetchSession {
  #id = 0
  #epoch = 0
  #usesIds = false
  #known = new Map<string, FetchWish>()

  /** The part of a request that says what to read. Each call must be followed by `answered` or `lost`. */
  build(wishes: readonly FetchWish[], version: number): SessionPart {
    const usesIds = version >= FIRST_VERSION_WITH_IDS
    if (version < FIRST_VERSION_WITH_SESSIONS) return { topics: byTopic(wishes, version) }
    if (usesIds !== this.#usesIds) this.#epoch = 0
    this.#usesIds = usesIds
    const wanted = new Map(wishes.map((wish) => [wish.key, wish]))
    const isFull = this.#epoch === 0
    const changed = isFull ? wishes : wishes.filter((wish) => !isSame(wish, this.#known.get(wish.key)))
    const forgotten = isFull ? [] : [...this.#known].filter(([key]) => !wanted.has(key)).map(([, wish]) => wish)
    this.#known = wanted
    return {
      sessionId: this.#id,
      sessionEpoch: this.#epoch,
      topics: byTopic(changed, version),
      forgottenTopicsData: groupByTopic(forgotten).map((group) => ({
        ...nameOf(group[0], usesIds),
        partitions: group.map(({ partition }) => partition),
      })),
    }
  }

  /** False if the broker wants everything again: the answer says nothing else. */
  answered({ errorCode, sessionId }: Pick<FetchResponse, 'errorCode' | 'sessionId'>): boolean {
    if (errorCode !== 0) {
      this.lost()
      return false
    }
    // A broker without room for a session, or one that throttles, gives none.
    if (sessionId === 0) this.lost()
    else this.#epoch = this.#id === sessionId && this.#epoch < MAX_EPOCH ? this.#epoch + 1 : 1
    this.#id = sessionId
    return true
  }

  /** The broker may have taken the last request or not. */
  lost(): void {
    this.#epoch = 0
    this.#known.clear()
  }

  /** A last request that lets the broker forget the session; undefined if it has none. */
  end(): SessionPart | undefined {
    if (this.#id === 0) return undefined
    return { sessionId: this.#id, sessionEpoch: FINAL_EPOCH, topics: [], forgottenTopicsData: [] }
  }
}

function isSame(a: FetchWish, b: FetchWish | undefined): boolean {
  return (
    a.topicId === b?.topicId &&
    a.offset === b?.offset &&
    a.leaderEpoch === b.leaderEpoch &&
    a.lastEpoch === b.lastEpoch &&
    a.maxBytes === b.maxBytes
  )
}

function groupByTopic(wishes: readonly FetchWish[]): readonly (readonly [FetchWish, ...FetchWish[]])[] {
  const groups = Map.groupBy(wishes, ({ topic, topicId }) => `${topicId ?? ''} ${topic}`)
  return [...groups.values()] as [FetchWish, ...FetchWish[]][]
}

function nameOf({ topic, topicId }: FetchWish, usesIds: boolean): { topic?: string; topicId?: string } {
  return usesIds && topicId !== undefined ? { topicId } : { topic }
}

function byTopic(wishes: readonly FetchWish[], version: number): FetchRequest['topics'] {
  return groupByTopic(wishes).map((group) => ({
    ...nameOf(group[0], version >= FIRST_VERSION_WITH_IDS),
    partitions: group.map(({ partition, offset, leaderEpoch, lastEpoch, maxBytes }) => ({
      partition,
      fetchOffset: offset,
      currentLeaderEpoch: leaderEpoch,
      ...(version < FIRST_VERSION_WITH_LAST_EPOCH ? {} : { lastFetchedEpoch: lastEpoch }),
      partitionMaxBytes: maxBytes,
    })),
  }))
}
