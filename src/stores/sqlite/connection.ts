import type { DatabaseSync } from 'node:sqlite'
import { sleep, systemClock } from '../../core/clock.ts'
import { StateError, TimeoutError } from '../../core/errors.ts'
import { Turns } from './turns.ts'

/** SQLite's primary result codes for a lock of another connection. */
const LOCKED: ReadonlySet<number | undefined> = new Set([5, 6])
const MIN_PAUSE_MS = 1
const MAX_PAUSE_MS = 10

const connections = new WeakMap<DatabaseSync, SqliteConnection>()

/**
 * One `DatabaseSync`, shared by everything that uses the same one: a connection has one transaction at a time, and a statement
 * that is not meant for it must not get into it. Waits for locks with timers, so the event loop is never blocked.
 */
export class SqliteConnection {
  readonly database: DatabaseSync
  readonly #turns = new Turns()

  /** The connection of this database: one object, however often it is asked for. */
  static of(database: DatabaseSync): SqliteConnection {
    const known = connections.get(database) ?? new SqliteConnection(database)
    connections.set(database, known)
    return known
  }

  private constructor(database: DatabaseSync) {
    this.database = database
  }

  /**
   * Runs statements outside of any transaction: at once if the database is free, and otherwise when it is. Throws a `TimeoutError`
   * when it was not free for `timeoutMs`.
   */
  run<Result>(work: () => Result, timeoutMs: number): Result | Promise<Result> {
    if (this.#turns.areFree && !this.database.isTransaction) {
      try {
        return work()
      } catch (error) {
        if (!isLocked(error)) throw error
      }
    }
    return this.#runInTurn(work, timeoutMs)
  }

  async #runInTurn<Result>(work: () => Result, timeoutMs: number): Promise<Result> {
    const signal = AbortSignal.timeout(timeoutMs)
    try {
      await this.#turns.take(signal)
    } catch {
      throw lockedFor(timeoutMs)
    }
    try {
      return await this.#untilFree(work, timeoutMs, false)
    } finally {
      this.#turns.giveBack()
    }
  }

  /**
   * Runs `body` between BEGIN IMMEDIATE and COMMIT, after those that came before. Rolls back when it rejects. `timeoutMs` bounds
   * the wait for other processes, the signal the wait for other transactions of this connection.
   */
  async transaction<Result>(
    body: () => Promise<Result>,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Result> {
    await this.#turns.take(signal)
    try {
      await this.#untilFree(() => this.database.exec('BEGIN IMMEDIATE'), timeoutMs, false)
      const result = await body()
      if (!this.database.isTransaction)
        throw new StateError(
          'The transaction had ended before its COMMIT: your code ended it, or SQLite rolled it back after an error. What was written since then was committed at once.',
        )
      await this.#untilFree(() => this.database.exec('COMMIT'), timeoutMs, true)
      return result
    } catch (error) {
      if (this.database.isOpen && this.database.isTransaction) this.database.exec('ROLLBACK')
      throw error
    } finally {
      this.#turns.giveBack()
    }
  }

  async #untilFree<Result>(work: () => Result, timeoutMs: number, inTransaction: boolean): Promise<Result> {
    const until = performance.now() + timeoutMs
    for (;;) {
      // A transaction that the user began on the same connection is waited for like that of another process.
      if (inTransaction || !this.database.isTransaction) {
        try {
          return work()
        } catch (error) {
          if (!isLocked(error)) throw error
          if (performance.now() >= until) throw lockedFor(timeoutMs, error)
        }
      } else if (performance.now() >= until) throw lockedFor(timeoutMs)
      await sleep(systemClock, MIN_PAUSE_MS + Math.random() * (MAX_PAUSE_MS - MIN_PAUSE_MS))
    }
  }
}

export function isLocked(error: unknown): boolean {
  return LOCKED.has(primaryCode(error))
}

/** SQLite's primary result code of an error, or undefined for other errors. */
export function primaryCode(error: unknown): number | undefined {
  const code = (error as { errcode?: unknown } | null)?.errcode
  return typeof code === 'number' ? code & 0xff : undefined
}

function lockedFor(timeoutMs: number, cause?: unknown): TimeoutError {
  return new TimeoutError(
    `The SQLite database was locked for ${timeoutMs} ms by another transaction; end transactions sooner, or raise busyTimeoutMs`,
    { cause },
  )
}
