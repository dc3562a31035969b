import type { OutboxRow } from './row.ts'
import type { ReadResult } from './store.ts'

/** A row that the relay has read and that is still in the table. */
export interface WindowRow {
  readonly row: OutboxRow
  readonly bytes: number
  state: 'waiting' | 'ready' | 'sending' | 'confirmed'
  /** How often sending it has failed in a way that may pass. */
  failures: number
  /** By `clock.monotonic()`: not sent before. */
  notBefore: number
  /** The floor may pass it: it is read again, or stays here until it is confirmed. */
  isAside: boolean
  /** Its shard was lost while it was being sent: another relay may have sent it, and newer ones, when that has ended. */
  isLost: boolean
}

/** A key of which the window has rows, or whose rows are read apart from the others. */
interface KeyState {
  readonly key: string
  readonly shard: number
  /** In order; the first is the only one that may be sent. */
  readonly queue: WindowRow[]
  /** Set while its rows are read apart: all up to this position are dealt with. */
  floor: number | undefined
  /** By `clock.monotonic()`: when to read more of it. Only when its queue is empty. */
  readAt: number
}

export interface WindowLimits {
  readonly maxRows: number
  /** More rows of one key are left in the table, so that a hot key can't fill the window. */
  readonly maxPerKey: number
}

/**
 * The rows that a relay has in memory. One row of a key is sent at a time, in order of positions; rows without a key at once.
 *
 * The floor is the position up to which everything is dealt with, so that reads need not begin at the start of a table full of
 * deleted rows. A key that is blocked, or has too many rows, gets a floor of its own and is read apart: it neither fills the window
 * nor holds the floor of the others.
 */
export class RelayWindow {
  readonly #limits: WindowLimits
  readonly #rows = new Map<number, WindowRow>()
  readonly #keys = new Map<string, KeyState>()
  #ready: WindowRow[] = []
  #floor = 0
  /** Grows with each rewind: what a read finds that began before is not taken. */
  #epoch = 0
  #bytes = 0

  constructor(limits: WindowLimits) {
    this.#limits = limits
  }

  get floor(): number {
    return this.#floor
  }

  /** To be passed to `add` with what a read finds that begins now. */
  get epoch(): number {
    return this.#epoch
  }

  get size(): number {
    return this.#rows.size
  }

  get bytes(): number {
    return this.#bytes
  }

  /** How many more rows it takes. */
  get room(): number {
    return this.#limits.maxRows - this.#rows.size
  }

  /** Positions of the rows that it has: they need not be read again. */
  positions(): number[] {
    return [...this.#rows.keys()]
  }

  /** Keys that are read apart. */
  keysAside(): string[] {
    return [...this.#keys.values()].filter(({ floor }) => floor !== undefined).map(({ key }) => key)
  }

  /** Takes what a read has found. `isWhole`: it looked for all rows but those of keys aside. */
  add(result: ReadResult, { isWhole, epoch }: { readonly isWhole: boolean; readonly epoch: number }): void {
    if (epoch !== this.#epoch) return
    const { rows, isCut, final } = result
    for (const row of rows) this.#add(row)
    if (!isWhole) return
    const read = isCut ? Math.min(final, rows.at(-1)?.position ?? 0) : final
    let lowest = Infinity
    for (const { row, isAside } of this.#rows.values()) if (!isAside) lowest = Math.min(lowest, row.position)
    this.#floor = Math.max(this.#floor, Math.min(read, lowest - 1))
  }

  #add(row: OutboxRow): void {
    if (this.#rows.has(row.position)) return
    if (row.key === undefined) {
      this.#makeReady(this.#keep(row, false))
      return
    }
    const state = this.#keyState(row.key, row.shard)
    if (state.floor !== undefined) return
    if (state.queue.length >= this.#limits.maxPerKey) this.#setAside(state)
    else this.#enqueue(state, row)
  }

  /** Takes what a read of one key has found. */
  addKey(key: string, { rows, isCut, final }: ReadResult): void {
    const state = this.#keys.get(key)
    if (state?.floor === undefined) return
    for (const row of rows) if (!this.#rows.has(row.position)) this.#enqueue(state, row)
    if (isCut) {
      state.floor = Math.max(state.floor, Math.min(final, (rows[0]?.position ?? 0) - 1))
      state.readAt = 0
      return
    }
    state.floor = undefined
    for (const held of state.queue) held.isAside = false
    if (state.queue.length === 0) this.#keys.delete(key)
  }

  #keep(row: OutboxRow, isAside: boolean): WindowRow {
    const bytes = 512 + (row.body?.byteLength ?? 0)
    const held: WindowRow = { row, bytes, state: 'waiting', failures: 0, notBefore: 0, isAside, isLost: false }
    this.#rows.set(row.position, held)
    this.#bytes += bytes
    return held
  }

  #enqueue(state: KeyState, row: OutboxRow): void {
    const held = this.#keep(row, state.floor !== undefined)
    state.queue.push(held)
    if (state.queue.length === 1) this.#makeReady(held)
  }

  #makeReady(held: WindowRow): void {
    held.state = 'ready'
    this.#ready.push(held)
  }

  /** Rows to send now, which are `sending` from here on. The others stay ready. */
  takeReady(canSend: (held: WindowRow) => boolean): WindowRow[] {
    const taken: WindowRow[] = []
    const rest: WindowRow[] = []
    for (const held of this.#ready) {
      if (held.state !== 'ready') continue
      if (canSend(held)) {
        held.state = 'sending'
        taken.push(held)
      } else rest.push(held)
    }
    this.#ready = rest
    return taken
  }

  /** When the first of the ready rows may be sent, and the first key be read; Infinity if there is none. */
  nextAt(): number {
    let at = Infinity
    for (const { notBefore } of this.#ready) at = Math.min(at, notBefore)
    for (const { floor, queue, readAt } of this.#keys.values())
      if (floor !== undefined && queue.length === 0) at = Math.min(at, readAt)
    return at
  }

  /** The broker has it: the next one of its key may be sent. It stays until it is deleted from the table. */
  confirmed(held: WindowRow): void {
    held.state = 'confirmed'
    this.#advance(held)
  }

  /** It is sent again later; the rows of its key wait. With `aside`, nothing else waits for it. */
  sendLater(held: WindowRow, notBefore: number, aside: boolean): void {
    if (held.isLost) {
      this.#readAgain(held)
      return
    }
    held.notBefore = notBefore
    held.failures++
    this.#makeReady(held)
    if (!aside || held.isAside) return
    const state = this.#stateOf(held)
    if (state === undefined) held.isAside = true
    else this.#setAside(state)
  }

  /** Only the table says whether it is still to be sent. */
  #readAgain(held: WindowRow): void {
    const isOfKey = this.#stateOf(held) !== undefined
    this.#advance(held)
    this.remove([held])
    // A key that was closed is read apart; a read of everything may have skipped this one.
    if (!isOfKey) this.rewind()
  }

  /** It waits in the table for its next attempt, or is parked: the rows of its key are read again, from `readAt` on. */
  leaveInTable(held: WindowRow, readAt: number): void {
    const state = this.#stateOf(held)
    if (state === undefined) {
      this.remove([held])
      return
    }
    this.#setAside(state)
    this.remove(state.queue.splice(0))
    state.readAt = readAt
  }

  /** A key whose rows wait in the table. */
  block(key: string, shard: number, readAt: number): void {
    const state = this.#keyState(key, shard)
    this.#setAside(state)
    state.readAt = readAt
  }

  /** Rows that are no longer in the table, or no longer ours. */
  remove(rows: readonly WindowRow[]): void {
    for (const held of rows) {
      if (!this.#rows.delete(held.row.position)) continue
      this.#bytes -= held.bytes
      if (held.state !== 'confirmed') held.state = 'waiting'
    }
  }

  /**
   * Forgets the rows of shards, except those that are being sent or deleted. A key of which one is being sent stays closed until that
   * has ended, in case that its shard comes back sooner.
   */
  dropShards(shards: ReadonlySet<number>): void {
    for (const [key, state] of this.#keys) {
      if (!shards.has(state.shard)) continue
      if (state.queue[0]?.state === 'sending') {
        this.#setAside(state)
        this.remove(state.queue.splice(1))
      } else this.#keys.delete(key)
    }
    for (const held of this.#rows.values()) {
      if (!shards.has(held.row.shard)) continue
      if (held.state === 'sending') held.isLost = true
      else if (held.state !== 'confirmed') this.remove([held])
    }
  }

  /** Forgets a key of a shard that is no longer ours. */
  dropKey(key: string): void {
    this.#keys.delete(key)
  }

  /** True while rows of the shard are being sent or deleted. */
  isBusy(shard: number): boolean {
    for (const { row, state } of this.#rows.values())
      if (row.shard === shard && (state === 'sending' || state === 'confirmed')) return true
    return false
  }

  get isSending(): boolean {
    for (const { state } of this.#rows.values()) if (state === 'sending' || state === 'confirmed') return true
    return false
  }

  /** Reads begin at the start again. */
  rewind(): void {
    this.#floor = 0
    this.#epoch++
  }

  /** Keys of which more is to be read now. */
  keysToRead(now: number): { readonly key: string; readonly shard: number; readonly floor: number }[] {
    const due = []
    for (const { key, shard, floor, queue, readAt } of this.#keys.values())
      if (floor !== undefined && queue.length === 0 && readAt <= now) due.push({ key, shard, floor })
    return due
  }

  #advance(held: WindowRow): void {
    const state = this.#stateOf(held)
    if (state === undefined) return
    state.queue.shift()
    const [next] = state.queue
    if (next !== undefined) this.#makeReady(next)
    else if (state.floor === undefined) this.#keys.delete(state.key)
    else state.readAt = 0
  }

  /** The state of its key, if it is the first of the queue: a row of a shard that was lost meanwhile is not. */
  #stateOf(held: WindowRow): KeyState | undefined {
    const { key } = held.row
    const state = key === undefined ? undefined : this.#keys.get(key)
    return state?.queue[0] === held ? state : undefined
  }

  #keyState(key: string, shard: number): KeyState {
    let state = this.#keys.get(key)
    if (state === undefined) {
      state = { key, shard, queue: [], floor: undefined, readAt: 0 }
      this.#keys.set(key, state)
    }
    return state
  }

  #setAside(state: KeyState): void {
    if (state.floor !== undefined) return
    state.floor = this.#floor
    for (const held of state.queue) {
      held.isAside = true
      state.floor = Math.min(state.floor, held.row.position - 1)
    }
  }
}
