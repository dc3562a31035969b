import { backoffMs } from '../../cluster/backoff.ts'
import { errorFromBroker, KafkaError } from '../../errors.ts'
import { CODE } from '../group-errors.ts'
import type { MemberIdentity } from '../group-machine.ts'

/** One time of owning a partition, from its assignment to its release or loss. Its identity is the object's. */
export interface OwnershipSpan {
  readonly topic: string
  readonly partition: number
}

export interface CommittedOffset {
  /** The next offset to read. */
  readonly offset: number
  /** Of the record before it; -1 if it is not known. */
  readonly leaderEpoch: number
  readonly metadata: string
}

export interface CommitRequest {
  readonly identity: MemberIdentity
  readonly entries: readonly CommitEntry[]
}

export interface CommitEntry {
  readonly span: OwnershipSpan
  readonly commit: CommittedOffset
  /** Counts what was wanted of the span: a seek may make a later commit the lower one. */
  readonly version: number
}

export interface CommitEffects {
  /** Answered by `answered` or `failed`, with the same object. */
  send(request: CommitRequest): void
  /** The coordinator does not take commits of this identity, which is still the member's. */
  identityRefused(errorCode: number, identity: MemberIdentity): void
  /** A partition's commit can't succeed. */
  refused(span: OwnershipSpan, error: KafkaError): void
}

type Done = (error: KafkaError | undefined) => void

interface SpanState {
  /** Not sent yet, or to be sent again. */
  wanted: CommitEntry | undefined
  version: number
  committed: CommittedOffset | undefined
  readonly waiting: { readonly version: number; readonly done: Done }[]
}

/**
 * The commits of one group: one request at a time, each with all that has come up meanwhile. A commit that was sent with an epoch that
 * has passed is sent again with the current one, for the partitions that are still owned in the same span; what is answered about
 * an earlier span of a partition says nothing about the present one. Pure.
 */
export class CommitPipeline {
  readonly #groupId: string
  readonly #effects: CommitEffects
  readonly #random: () => number
  readonly #spans = new Map<OwnershipSpan, SpanState>()
  #identity: MemberIdentity | undefined
  #inFlight: CommitRequest | undefined
  #isDue = false
  #notBefore = -Infinity
  #failures = 0

  constructor(groupId: string, effects: CommitEffects, random: () => number) {
    this.#groupId = groupId
    this.#effects = effects
    this.#random = random
  }

  get wakeAt(): number {
    const isReady = this.#isDue && this.#inFlight === undefined && this.#identity !== undefined
    return isReady && this.#hasWanted() ? this.#notBefore : Infinity
  }

  committed(span: OwnershipSpan): CommittedOffset | undefined {
    return this.#spans.get(span)?.committed
  }

  begin(span: OwnershipSpan): void {
    this.#spans.set(span, { wanted: undefined, version: 0, committed: undefined, waiting: [] })
  }

  /** Nothing more is committed for it. Callers that wait learn that its outcome is unknown. */
  end(span: OwnershipSpan): void {
    const state = this.#spans.get(span)
    this.#spans.delete(span)
    const { topic, partition } = span
    const error = new KafkaError(`${topic}[${partition}] was taken from this member before its offset was committed`, {
      code: 'PARTITION_LOST',
      action: 'rejoin',
      outcome: 'unknown',
    })
    for (const { done } of state?.waiting ?? []) done(error)
  }

  /** The caller says when to send, with `flush`: what is wanted later of the same partition takes its place. */
  want(span: OwnershipSpan, commit: CommittedOffset): void {
    const state = this.#spans.get(span)
    if (state !== undefined) state.wanted = { span, commit, version: ++state.version }
  }

  /** Calls `done` when everything that was wanted for the partition so far is committed, or can't be. */
  whenCommitted(span: OwnershipSpan, done: Done): void {
    const state = this.#spans.get(span)
    const isSent = this.#inFlight?.entries.some((entry) => entry.span === span) === true
    if (state === undefined || (state.wanted === undefined && !isSent)) return done(undefined)
    state.waiting.push({ version: state.version, done })
  }

  /** What the member commits with from now on; undefined while it can't. */
  useIdentity(identity: MemberIdentity | undefined, now: number): void {
    const isNew = identity?.epoch !== this.#identity?.epoch || identity?.memberId !== this.#identity?.memberId
    this.#identity = identity
    // The reason for the pause was the old one.
    if (isNew) this.#notBefore = -Infinity
    this.#send(now)
  }

  /** Sends what is wanted as soon as a request may be sent. */
  flush(now: number): void {
    this.#isDue = true
    this.#send(now)
  }

  #send(now: number): void {
    if (!this.#isDue || this.#inFlight !== undefined || this.#identity === undefined || now < this.#notBefore) return
    this.#isDue = false
    const entries: CommitEntry[] = []
    for (const state of this.#spans.values()) {
      const { wanted } = state
      state.wanted = undefined
      if (wanted !== undefined) entries.push(wanted)
    }
    if (entries.length === 0) return
    this.#inFlight = { identity: this.#identity, entries }
    this.#effects.send(this.#inFlight)
  }

  answered(request: CommitRequest, codeOf: (entry: CommitEntry) => number, now: number): void {
    if (this.#inFlight !== request) return
    this.#inFlight = undefined
    let refusal: number | undefined
    let mustPause = false
    for (const entry of request.entries) {
      const code = codeOf(entry)
      if (code === CODE.none) this.#succeeded(entry)
      else if (isAboutMember(code)) {
        refusal = code
        this.#again(entry)
      } else {
        const error = errorFromBroker(code, `OffsetCommit of group ${this.#groupId}`)
        const isTemporary = error.retriable || code === CODE.rebalanceInProgress
        mustPause ||= isTemporary
        if (isTemporary) this.#again(entry)
        else this.#refused(entry, error)
      }
    }
    if (refusal === undefined && !mustPause) this.#failures = 0
    else this.#pause(now)
    const isCurrent =
      request.identity.epoch === this.#identity?.epoch && request.identity.memberId === this.#identity.memberId
    if (refusal !== undefined && isCurrent) this.#effects.identityRefused(refusal, request.identity)
    // With another identity, what was refused may succeed at once.
    else if (refusal !== undefined && !mustPause) this.#notBefore = -Infinity
    this.#send(now)
  }

  failed(request: CommitRequest, error: KafkaError, now: number): void {
    if (this.#inFlight !== request) return
    this.#inFlight = undefined
    for (const entry of request.entries) {
      if (error.retriable) this.#again(entry)
      else this.#refused(entry, error)
    }
    this.#pause(now)
    this.#send(now)
  }

  #hasWanted(): boolean {
    for (const { wanted } of this.#spans.values()) if (wanted !== undefined) return true
    return false
  }

  #succeeded({ span, commit, version }: CommitEntry): void {
    const state = this.#spans.get(span)
    if (state === undefined) return
    state.committed = commit
    settle(state, version, undefined)
  }

  #refused({ span, version }: CommitEntry, error: KafkaError): void {
    const state = this.#spans.get(span)
    if (state === undefined) return
    settle(state, version, error)
    this.#effects.refused(span, error)
  }

  #again(entry: CommitEntry): void {
    const state = this.#spans.get(entry.span)
    if (state === undefined) return
    state.wanted ??= entry
    this.#isDue = true
  }

  #pause(now: number): void {
    this.#failures++
    this.#notBefore = now + backoffMs(this.#failures, this.#random())
  }
}

function settle(state: SpanState, version: number, error: KafkaError | undefined): void {
  const ended = state.waiting.filter((each) => each.version <= version)
  state.waiting.splice(0, state.waiting.length, ...state.waiting.filter((each) => each.version > version))
  for (const { done } of ended) done(error)
}

/** STALE_MEMBER_EPOCH is not among them: the next heartbeat brings the epoch. */
function isAboutMember(code: number): boolean {
  return (
    code === CODE.illegalGeneration ||
    code === CODE.unknownMember ||
    code === CODE.fencedInstance ||
    code === CODE.fencedMemberEpoch
  )
}
