import type { Acquired } from '../../../../core/partitions/attempt-state.ts'
import { ConnectionError } from '../../../../core/errors.ts'
import type { Session } from '../../connection/session.ts'
import { AHEAD, encodeRecord } from './partition-record.ts'
import type { PartitionRecord, PartitionState } from './partition-record.ts'
import { NOWHERE } from './partition-store.ts'
import type { PartitionStore, StoredAt } from './partition-store.ts'
import type { SessionLeases } from './session-leases.ts'

/** It could not be read: nothing can be written on its condition. */
const UNKNOWN: StoredAt = { seq: -1, spare: -1 }

export interface OwnedPartitionHost {
  readonly session: Session
  readonly leases: SessionLeases
  readonly store: PartitionStore
  readonly memberId: string
  /** Where the group begins in a partition that has no record. */
  initial(): PartitionState
  /** What is to be written for a partition that is ours; `free`: for its next owner. */
  state(unit: string, free: boolean): PartitionState
  /** What `state` said last is stored. */
  committed(unit: string): void
  /** A record shows that it is not ours any more. */
  lost(unit: OwnedPartition): void
}

/** A claim that succeeded: what the owner before has left, and how it came to us. */
export interface Claimed {
  readonly state: PartitionState
  readonly how: Acquired
  /** As it was found; undefined when there was no record. */
  readonly before: PartitionRecord | undefined
}

/**
 * One partition (or the whole topic, for strict order), as this member sees its record. Each record replaces the one before
 * on condition of its sequence: so two members never both succeed, and a member that was cut off learns that with its next
 * one. Answers may be lost, so a record that is found may be one of ours.
 */
export class OwnedPartition {
  readonly name: string
  mine = false
  /** The handover in progress; aborted when the partition is lost. */
  handover: AbortController | undefined = undefined
  /** It is not ours here, but its record may say that it is: while our session lives, no other member can claim it. */
  isAstray = false
  /** The last known record, while it is not ours. */
  record: PartitionRecord | undefined = undefined
  readonly #host: OwnedPartitionHost
  /** Increases each time that it comes to us. */
  #leaseGeneration = 0
  /** Nothing of it is here any more, and its record is about to be freed: no commit may follow. */
  #freeing = false
  /** Where the last known record is. */
  #at: StoredAt = NOWHERE
  /** The highest version that is known, or that we have tried to write: no two attempts have the same. */
  #version = 0
  /**
   * Claims without an answer, from that version on: if one was stored, this is how the partition came to us. All were made
   * on condition of the record that was `at`, or of one another.
   */
  #claims: { readonly since: number; readonly how: Acquired; readonly at: StoredAt } | undefined
  /** Commits are written one after the other. */
  #writing: Promise<unknown> = Promise.resolve()
  /** The commit that waits for the one in progress. */
  #next: Promise<boolean> | undefined

  constructor(name: string, host: OwnedPartitionHost) {
    this.name = name
    this.#host = host
  }

  /** False when its record could not be read: it can't be claimed. */
  get isKnown(): boolean {
    return this.#at.seq >= 0
  }

  /** The record that is known says that it is ours. */
  get isOurs(): boolean {
    return this.record !== undefined && this.#isOurs(this.record)
  }

  /** It may be claimed. */
  get isFree(): boolean {
    const { leases, memberId } = this.#host
    if (this.mine || !this.isKnown) return false
    if (this.record === undefined || this.record.free) return true
    const { owner, session } = this.record
    // Our own, from before our lease ended; or that of another member of this process that no longer lives.
    if (session === leases.id) return owner === memberId || !leases.hasMember(owner)
    return leases.isOver(session)
  }

  #isBy({ owner, session }: PartitionRecord): boolean {
    return owner === this.#host.memberId && session === this.#host.leases.id
  }

  #isOurs(record: PartitionRecord): boolean {
    return this.#isBy(record) && !record.free
  }

  /** Reads the record. Rejects when that fails. */
  async look(): Promise<void> {
    try {
      const { at, record } = await this.#host.store.read(this.name)
      if (this.mine) return
      // What another member has written since keeps our claims from being stored.
      const before = this.#claims?.at
      const isBefore = before !== undefined && at.seq === before.seq && at.spare === before.spare
      if (!isBefore && (record === undefined || !this.#isBy(record))) this.#claims = undefined
      this.#at = at
      this.record = record
      this.#version = Math.max(this.#version, record?.version ?? 0)
    } catch (error) {
      this.record = undefined
      this.#at = UNKNOWN
      throw error
    }
  }

  /** Undefined when another member was faster, or an answer was lost: the next look shows which. */
  async claim(): Promise<Claimed | undefined> {
    const { store, leases, memberId } = this.#host
    const { record } = this
    const state = record ?? this.#host.initial()
    const how = this.#howItCame()
    const claimed = {
      ...state,
      reserved: Math.max(state.reserved, state.to + AHEAD),
      free: false,
      owner: memberId,
      session: leases.id,
      version: ++this.#version,
    }
    // Without an answer it may be ours.
    this.isAstray = true
    this.#claims ??= { since: this.#version, how, at: this.#at }
    const at = await store.write(this.name, encodeRecord(claimed), this.#at)
    if (at === undefined) return undefined
    this.#at = at
    this.isAstray = false
    this.#claims = undefined
    return { state, how, before: record }
  }

  #howItCame(): Acquired {
    const { record } = this
    if (record === undefined || record.free) return 'clean'
    if (!this.#isOurs(record)) return 'taken'
    return this.#claims !== undefined && record.version >= this.#claims.since ? this.#claims.how : 'ours'
  }

  /** What was claimed is used from now on. */
  begin(): void {
    this.mine = true
    this.#leaseGeneration++
  }

  /** What was claimed is not used: its record becomes again as it was found. */
  putBack({ state, before }: Claimed): void {
    const { leases, store, memberId } = this.#host
    const found = before ?? { ...state, owner: memberId, session: '', free: true }
    const session = found.session === leases.id ? '' : found.session
    const text = encodeRecord({ ...found, session, version: ++this.#version })
    const at = this.#at
    leases.later(async () => void (await store.write(this.name, text, at)))
  }

  /** It was lost, or given up. */
  lose(): void {
    this.mine = false
    this.isAstray = true
    this.handover?.abort()
    this.handover = undefined
    this.#freeing = false
    this.record = undefined
  }

  // --- writing -----------------------------------------------------------------------------------------------------

  /**
   * Writes what there is to write; resolves with false when it is not ours any more. Rejects when it could not be written;
   * then it has to be tried again.
   */
  commit(): Promise<boolean> {
    if (this.#next !== undefined) return this.#next
    const before = this.#writing
    const next = (async () => {
      await before.catch(() => undefined)
      this.#next = undefined
      return this.mine && !this.#freeing && this.#write(false)
    })()
    this.#next = next
    this.#writing = next
    return next
  }

  /** Any member may take it from now on. False when it was lost meanwhile. */
  async free(): Promise<boolean> {
    const leaseGeneration = this.#leaseGeneration
    this.#freeing = true
    await this.#writing.catch(() => undefined)
    if (!this.mine || this.#leaseGeneration !== leaseGeneration || !(await this.#write(true))) return false
    this.mine = false
    this.handover = undefined
    this.#freeing = false
    return true
  }

  async #write(free: boolean): Promise<boolean> {
    const { session, leases, store, memberId: owner } = this.#host
    const leaseGeneration = this.#leaseGeneration
    const isWanted = (): boolean => this.mine && this.#leaseGeneration === leaseGeneration
    for (;;) {
      if (!session.ready) throw new ConnectionError('The server is out of reach')
      const version = ++this.#version
      const record = { ...this.#host.state(this.name, free), owner, session: leases.id, version, free }
      const at = await store.write(this.name, encodeRecord(record), this.#at)
      if (!isWanted()) return false
      const last = at === undefined ? await this.#last(version) : { at, isThis: true }
      if (!isWanted()) return false
      if (last === undefined) {
        this.#host.lost(this)
        return false
      }
      this.#at = last.at
      if (!last.isThis) continue
      this.#host.committed(this.name)
      return true
    }
  }

  /**
   * Our record did not replace the last one that we knew. It may have been stored without an answer, and so may a former
   * one, which says less; or the last one was lost with the server's disk. Undefined when it is not ours any more.
   */
  async #last(version: number): Promise<{ at: StoredAt; isThis: boolean } | undefined> {
    const { at, record } = await this.#host.store.read(this.name)
    if (record === undefined) return { at, isThis: false }
    if (record.version === version && this.#isBy(record)) return { at, isThis: true }
    return this.#isOurs(record) && record.version < version ? { at, isThis: false } : undefined
  }

  /** Frees it when there is a connection again: until then the lease of our session keeps it from all members. */
  freeLater(): void {
    const { leases, store, memberId: owner } = this.#host
    const state = this.#host.state(this.name, true)
    const text = encodeRecord({ ...state, owner, session: leases.id, version: ++this.#version, free: true })
    let at = this.#at
    leases.later(async () => {
      if ((await store.write(this.name, text, at)) !== undefined) return
      const found = await store.read(this.name)
      // Another member has it, or it was freed without an answer.
      if (found.record === undefined || !this.#isOurs(found.record)) return
      at = found.at
      throw new ConnectionError('The last record was not the one that was known')
    })
  }

  /** Takes our session's name from its record, if it was lost here: the session still serves its other members. */
  disown(): void {
    if (!this.isAstray) return
    const { leases, store } = this.#host
    leases.later(async () => {
      const { at, record } = await store.read(this.name)
      if (record === undefined || !this.#isOurs(record)) return
      const left = { ...record, session: '', version: record.version + 1 }
      if ((await store.write(this.name, encodeRecord(left), at)) !== undefined) return
      throw new ConnectionError('The last record was not the one that was known')
    })
  }
}
