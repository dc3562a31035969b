import { CODE } from './codes.ts'
import type { Random } from './random.ts'
import type { Asked } from './wire.ts'

/** A partition that a session reads. */
export interface Wanted {
  /** Name, or id from version 13 on. */
  readonly topic: string
  readonly index: number
  readonly fetchOffset: number
  readonly maxBytes: number
  readonly currentLeaderEpoch: number
  readonly lastFetchedEpoch: number
  /** What the client was told last. */
  reported: string | undefined
}

interface Reported {
  readonly errorCode?: number | undefined
  readonly highWatermark?: number | undefined
  readonly lastStableOffset?: number | undefined
  readonly logStartOffset?: number | undefined
  readonly divergingEpoch?: { readonly epoch?: number | undefined } | undefined
  readonly preferredReadReplica?: number | undefined
  readonly records?: Buffer | null | undefined
}

/** The fetch sessions of one broker (KIP-227). */
export class FetchSessions {
  readonly #sessions = new Map<number, FetchSession>()
  /** Sessions that were made since the start. */
  created = 0
  /** Beyond it, clients get no session. */
  maxSessions = 1_000

  /** As when other clients need the room. */
  evict(): void {
    this.#sessions.clear()
  }

  /** The session of a request, with its changes; or an error code. */
  open(request: Asked<'Fetch'>, random: Random, version: number): FetchSession | number {
    const { sessionId, sessionEpoch } = request
    const usesIds = version >= 13
    if (sessionId === 0 || sessionEpoch <= 0) {
      this.#sessions.delete(sessionId)
      const hasSession = sessionEpoch === 0 && this.#sessions.size < this.maxSessions && version >= 7
      const session = new FetchSession(hasSession ? 1 + random.below(0x7fff_fffe) : 0, usesIds)
      session.change(request)
      if (hasSession) {
        this.created++
        this.#sessions.set(session.id, session)
      }
      return session
    }
    const session = this.#sessions.get(sessionId)
    if (session === undefined) return CODE.FETCH_SESSION_ID_NOT_FOUND
    if (session.usesIds !== usesIds) return CODE.FETCH_SESSION_TOPIC_ID_ERROR
    if (session.nextEpoch !== sessionEpoch) return CODE.INVALID_FETCH_SESSION_EPOCH
    session.nextEpoch = sessionEpoch === 0x7fff_ffff ? 1 : sessionEpoch + 1
    session.change(request)
    return session
  }
}

export class FetchSession {
  /** 0: the request stands alone. */
  readonly id: number
  readonly usesIds: boolean
  nextEpoch = 1
  #isFull = true
  /** In the order in which they are looked at: those that were answered go to the end. */
  readonly #partitions = new Map<string, Wanted>()

  constructor(id: number, usesIds: boolean) {
    this.id = id
    this.usesIds = usesIds
  }

  change({ topics, forgottenTopicsData, sessionEpoch }: Asked<'Fetch'>): void {
    this.#isFull = sessionEpoch <= 0
    for (const { topic, topicId, partitions } of forgottenTopicsData) {
      for (const index of partitions) this.#partitions.delete(`${this.usesIds ? topicId : topic}/${index}`)
    }
    for (const { topic, topicId, partitions } of topics) {
      const key = this.usesIds ? topicId : topic
      for (const { partition, fetchOffset, partitionMaxBytes, currentLeaderEpoch, lastFetchedEpoch } of partitions) {
        const known = this.#partitions.get(`${key}/${partition}`)
        this.#partitions.set(`${key}/${partition}`, {
          topic: key,
          index: partition,
          fetchOffset,
          maxBytes: partitionMaxBytes,
          currentLeaderEpoch,
          lastFetchedEpoch,
          reported: known?.reported,
        })
      }
    }
  }

  wanted(): Iterable<Wanted> {
    return [...this.#partitions.values()]
  }

  /** A session is told about a partition only if there is something new; a full request is told about all. */
  mustReport(wanted: Wanted, response: Reported): boolean {
    if (this.id === 0 || this.#isFull) return true
    const hasRecords = (response.records?.length ?? 0) > 0
    const diverges = (response.divergingEpoch?.epoch ?? -1) !== -1
    const isElsewhere = (response.preferredReadReplica ?? -1) !== -1
    return hasRecords || diverges || isElsewhere || response.errorCode !== 0 || reportOf(response) !== wanted.reported
  }

  answered(reported: readonly { readonly wanted: Wanted; readonly response: Reported }[]): void {
    for (const { wanted, response } of reported) {
      const key = `${wanted.topic}/${wanted.index}`
      if (!this.#partitions.has(key)) continue
      this.#partitions.delete(key)
      this.#partitions.set(key, { ...wanted, reported: reportOf(response) })
    }
  }
}

function reportOf({ highWatermark, lastStableOffset, logStartOffset }: Reported): string {
  return `${highWatermark}/${lastStableOffset}/${logStartOffset}`
}
