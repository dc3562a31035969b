import { AsyncLocalStorage } from 'node:async_hooks'
import { CommitUnknownError, StateError } from '../core/errors.ts'

/** Writes rows that were buffered in a unit of work: all of them at once, in the order in which they were buffered. */
export type BufferedWrite<Tx, Row> = (tx: Tx, rows: readonly Row[]) => unknown

/** One transaction, while it is open. */
export interface Unit<Tx> {
  /** What statements of the transaction run on, as your database library gives it. Don't use it after the run has ended. */
  readonly tx: Tx
  /**
   * Keeps a row until just before COMMIT. Then `write` is called once with all rows that were buffered for it, so that many rows
   * cost one statement; several writes are called in the order of their first row. They may buffer more. If one throws, the
   * transaction is rolled back. Throws `StateError` when the transaction has ended.
   */
  buffer<Row>(write: BufferedWrite<Tx, Row>, row: Row): void
}

/**
 * Runs code in transactions of your database. What Busbar itself writes in one of your transactions (the outbox, the inbox, a saga)
 * goes through one of these, and so is atomic with your own changes.
 */
export interface UnitOfWork<Tx> {
  /**
   * Begins a transaction, calls `fn`, writes what was buffered, and commits. Resolves with the result of `fn` after the COMMIT.
   *
   * - If `fn` throws, a buffered write throws, or `signal` aborts, the transaction is rolled back, and the promise rejects with that
   *   error, or with the reason of the signal. `fn` is not interrupted: an aborted run ends when `fn` has ended, so pass the signal
   *   to what you wait for.
   * - A run within a run of the same unit of work is a savepoint: when it fails, only what it wrote and buffered is undone, and the
   *   outer one may continue. Runs within one run take turns, and the outer one waits for them.
   * - Rejects with a `CommitUnknownError` when the connection was lost during COMMIT. After any other error, nothing was committed.
   *
   * Safe to call concurrently: each outermost run has a separate transaction.
   */
  run<Result>(
    fn: (tx: Tx, unit: Unit<Tx>) => Result | Promise<Result>,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<Result>
  /** The innermost open run that the caller is in, through all `await`s; undefined outside of `run`, and after it has ended. */
  current(): Unit<Tx> | undefined
}

/**
 * The part of a unit of work that depends on the database library. Libraries that take a callback (Drizzle, Kysely, Prisma, Knex)
 * need one line for each method.
 */
export interface TransactionAdapter<Tx> {
  /**
   * Begins a transaction, awaits `body`, commits, and resolves with its result. If `body` rejects, rolls back and rejects with the
   * same error. The signal aborts a wait for a connection or for a lock, if the library can do that; `createUnitOfWork` checks it
   * before and after `body`.
   */
  transaction<Result>(body: (tx: Tx) => Promise<Result>, signal: AbortSignal | undefined): Promise<Result>
  /** The same within the transaction `tx`: SAVEPOINT, then RELEASE, or ROLLBACK TO. */
  savepoint<Result>(tx: Tx, body: (tx: Tx) => Promise<Result>): Promise<Result>
  /** Whether an error with which COMMIT failed proves that nothing was committed. False for a lost connection. */
  isRolledBack(error: unknown): boolean
}

/**
 * Makes a unit of work for a database library that Busbar has no adapter for.
 *
 *     const unitOfWork = createUnitOfWork<Transaction<Database>>({
 *       transaction: (body) => kysely.transaction().execute(body),
 *       savepoint: async (tx, body) => …,
 *       isRolledBack: (error) => typeof error.code === 'string' && !error.code.startsWith('08'),
 *     })
 *
 * Check it with `unitOfWorkContract` of `busbar/testing`.
 */
export function createUnitOfWork<Tx>(adapter: TransactionAdapter<Tx>): UnitOfWork<Tx> {
  return new AdaptedUnitOfWork(adapter)
}

class AdaptedUnitOfWork<Tx> implements UnitOfWork<Tx> {
  readonly #adapter: TransactionAdapter<Tx>
  readonly #scopes = new AsyncLocalStorage<Scope<Tx>>()

  constructor(adapter: TransactionAdapter<Tx>) {
    this.#adapter = adapter
  }

  current(): Unit<Tx> | undefined {
    return this.#innermost()
  }

  async run<Result>(
    fn: (tx: Tx, unit: Unit<Tx>) => Result | Promise<Result>,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Result> {
    const { signal } = options
    signal?.throwIfAborted()
    const outer = this.#innermost()
    if (outer !== undefined) return outer.inTurn(() => this.#savepoint(outer, fn, signal))
    let isComplete = false
    try {
      return await this.#adapter.transaction(async (tx) => {
        isComplete = false
        const scope = new Scope(tx, undefined)
        const result = await this.#within(scope, fn, signal, () => scope.flush())
        isComplete = true
        return result
      }, signal)
    } catch (error) {
      if (!isComplete || this.#adapter.isRolledBack(error)) throw error
      throw new CommitUnknownError(
        'The connection was lost during COMMIT: the transaction may have been committed, or not. Read what it wrote before you repeat it',
        { cause: error },
      )
    }
  }

  /** A scope that has ended stays in the context of what was started in it and not awaited. */
  #innermost(): Scope<Tx> | undefined {
    let scope = this.#scopes.getStore()
    while (scope?.isOpen === false) scope = scope.outer
    return scope
  }

  #savepoint<Result>(
    outer: Scope<Tx>,
    fn: (tx: Tx, unit: Unit<Tx>) => Result | Promise<Result>,
    signal: AbortSignal | undefined,
  ): Promise<Result> {
    return this.#adapter
      .savepoint(outer.tx, async (tx) => {
        const scope = new Scope(tx, outer)
        return { scope, result: await this.#within(scope, fn, signal, () => undefined) }
      })
      .then(({ scope, result }) => {
        outer.take(scope)
        return result
      })
  }

  async #within<Result>(
    scope: Scope<Tx>,
    fn: (tx: Tx, unit: Unit<Tx>) => Result | Promise<Result>,
    signal: AbortSignal | undefined,
    finish: () => Promise<void> | void,
  ): Promise<Result> {
    try {
      return await this.#scopes.run(scope, async () => {
        try {
          // It may have aborted while the transaction had to wait.
          signal?.throwIfAborted()
          const result = await fn(scope.tx, scope)
          await scope.settled()
          signal?.throwIfAborted()
          await finish()
          signal?.throwIfAborted()
          return result
        } finally {
          // Also of a failed run: what it has started must not meet the ROLLBACK.
          await scope.settled()
        }
      })
    } finally {
      scope.isOpen = false
    }
  }
}

class Scope<Tx> implements Unit<Tx> {
  readonly tx: Tx
  readonly outer: Scope<Tx> | undefined
  isOpen = true
  #buffered = new Map<BufferedWrite<Tx, never>, unknown[]>()
  /** Ends with the last of the runs within this one. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(tx: Tx, outer: Scope<Tx> | undefined) {
    this.tx = tx
    this.outer = outer
  }

  buffer<Row>(write: BufferedWrite<Tx, Row>, row: Row): void {
    if (!this.isOpen) throw new StateError('The transaction has ended: what is buffered now would never be written')
    const rows = this.#buffered.get(write)
    if (rows === undefined) this.#buffered.set(write, [row])
    else rows.push(row)
  }

  /** Adds what an inner run has buffered. */
  take(inner: Scope<Tx>): void {
    for (const [write, rows] of inner.#buffered) for (const row of rows) this.buffer(write, row as never)
  }

  async flush(): Promise<void> {
    for (const [write, rows] of this.#buffered) {
      this.#buffered.delete(write)
      await write(this.tx, rows as never[])
      await this.settled()
    }
  }

  /** Runs one after the other: savepoints of one connection can't overlap. */
  inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => undefined)
    return turn
  }

  /** Waits for the runs within this one, and for those that begin meanwhile. */
  async settled(): Promise<void> {
    let last: unknown
    while (last !== this.#last) {
      last = this.#last
      await last
    }
  }
}
