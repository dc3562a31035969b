import type { OutboxRow } from './row.ts'

/** A shard that a relay owns. */
export interface OwnedShard {
  readonly shard: number
  /** Grows with each owner: what an earlier owner notes with its fence changes nothing. */
  readonly fence: number
}

/** Which rows a relay wants to read. */
export interface ReadQuery {
  readonly shards: readonly number[]
  /** Only rows behind this position, and those whose delay is over. */
  readonly floor: number
  /** Rows that the relay has already. */
  readonly skipPositions: readonly number[]
  readonly skipKeys: readonly string[]
  /** Names of transports; an empty string is the default one. */
  readonly skipTransports: readonly string[]
  readonly limit: number
  /** The rows after the first stay below this size together. */
  readonly maxBytes: number
}

/** The rows of one key that a relay wants to read. */
export interface KeyQuery extends Pick<ReadQuery, 'floor' | 'skipPositions' | 'limit' | 'maxBytes'> {
  readonly shard: number
  readonly key: string
}

/** What a read found: the rows of one snapshot of the table, in the order of their positions. */
export interface ReadResult {
  readonly rows: readonly OutboxRow[]
  /** True: there may be more rows that the query asked for. */
  readonly isCut: boolean
  /**
   * No transaction that is still open, or begins later, has a position up to this one. Positions are given out in another order than
   * transactions commit, so a relay must not forget about a position before it is final.
   */
  readonly final: number
}

/** A key whose rows must wait. */
export interface BlockedKey {
  readonly key: string
  readonly shard: number
  /** How long until its failed row is due, in ms; undefined if it is parked. */
  readonly readyInMs: number | undefined
}

/** Why a row was not sent. */
export interface RowFailure {
  readonly position: number
  readonly owned: OwnedShard
  readonly error: string
  /** How long until the next attempt, in ms; undefined to park the row. */
  readonly retryInMs: number | undefined
}

/** Figures of an outbox. */
export interface OutboxStats {
  /** Rows that wait to be sent, without those that are parked; counted up to 100,000. */
  readonly pending: number
  /** Age of the oldest of them that is due, in ms; 0 if there is none. */
  readonly oldestAgeMs: number
  readonly parked: number
  /** Keys whose first row has failed and waits for its next attempt, or is parked. */
  readonly failing: number
  /** Shards without a relay. */
  readonly unownedShards: number
  readonly relays: number
}

/** Which rows an admin command is about. All that are given must hold. */
export interface RowFilter {
  readonly ids?: readonly string[] | undefined
  readonly topic?: string | undefined
  readonly key?: string | undefined
  readonly parked?: boolean | undefined
  readonly limit: number
}

/** A row as `list` shows it. */
export interface ListedRow {
  readonly position: number
  readonly id: string
  readonly topic: string
  readonly key: string | undefined
  readonly transport: string | undefined
  readonly createdAt: Date
  readonly availableAt: Date | undefined
  readonly attempts: number
  readonly parkedAt: Date | undefined
  readonly lastError: string | undefined
  readonly bodyBytes: number
}

/**
 * The tables of an outbox in one database: what a relay and the admin commands need. Times are compared in the database. Nothing is
 * locked between two calls, and no transaction stays open.
 */
export interface OutboxStore {
  /** The SQL that creates the tables, or brings them up to date. */
  readonly sql: string
  /** Runs it. Several processes may do so at once. */
  createTables(): Promise<void>
  /** Rejects with a `StateError` that says what to do when the tables are missing or of another version. */
  check(): Promise<void>
  /** Notes that a relay is alive, and renews its shards. Resolves with the number of live relays, and the shards that it owns. */
  heartbeat(owner: string, leaseMs: number): Promise<{ readonly relays: number; readonly owned: readonly OwnedShard[] }>
  /** Takes up to `most` shards that have no living owner. */
  claim(owner: string, leaseMs: number, most: number): Promise<readonly OwnedShard[]>
  /** Gives shards back, so that another relay can take them at once. */
  release(owner: string, shards: readonly number[]): Promise<void>
  /** Gives all back, and forgets the relay. */
  leave(owner: string): Promise<void>
  /** Notes until when a relay looks for rows by itself, so that writers need not wake it. */
  awake(owner: string, forMs: number): Promise<void>
  /** Rows of these shards that are due and not parked. */
  read(query: ReadQuery): Promise<ReadResult>
  /** The same for one key. */
  readKey(query: KeyQuery): Promise<ReadResult>
  /** Keys whose rows must wait, of these shards or only of one key. With `parked`, those behind a parked row too. */
  blocked(
    shards: readonly number[],
    options: { readonly key?: string; readonly parked: boolean },
  ): Promise<readonly BlockedKey[]>
  /** Deletes rows that were confirmed. */
  remove(positions: readonly number[]): Promise<void>
  /** Counts an attempt, unless another relay owns the shard by now. Resolves with whether it did. */
  fail(failure: RowFailure): Promise<boolean>
  /** Figures, cheap enough to ask for every few seconds. */
  stats(): Promise<OutboxStats>
  /** Rows without their bodies, in the order of their positions. */
  list(filter: RowFilter): Promise<readonly ListedRow[]>
  /** Makes parked rows due again: same id, same position. Resolves with the ids. */
  requeue(filter: RowFilter): Promise<readonly string[]>
  /** Deletes parked rows. Resolves with the ids. */
  discard(filter: RowFilter): Promise<readonly string[]>
  /** Who keeps positions from becoming final: the oldest open transaction that has written something. */
  holder?(): Promise<string | undefined>
  /**
   * Calls `wake` for each notification, until the returned function is called. Rejects where nothing can be heard. `onEnd` is called
   * when listening ends by itself, but not before this has resolved: until then it rejects.
   */
  listen?(wake: () => void, onEnd: (error: unknown) => void): Promise<() => Promise<void>>
}
