import { AsyncLocalStorage } from 'node:async_hooks'
import { StateError } from '../core/errors.ts'
import type { UnitOfWork } from '../stores/unit-of-work.ts'
import type { NewRow } from './row.ts'

/** Where rows go that are published without naming a transaction. */
export interface Ambient {
  write(row: NewRow): void | Promise<void>
}

interface Scope<Tx> {
  readonly tx: Tx
  isOpen: boolean
}

/** The transaction that the calling code is in: that of `within`, or the innermost run of a unit of work. */
export class AmbientTransactions<Tx> {
  readonly #scopes = new AsyncLocalStorage<Scope<Tx>>()
  readonly #unitOfWork: UnitOfWork<Tx> | undefined
  readonly #write: (tx: Tx, row: NewRow) => Promise<void>

  constructor(unitOfWork: UnitOfWork<Tx> | undefined, write: (tx: Tx, row: NewRow) => Promise<void>) {
    this.#unitOfWork = unitOfWork
    this.#write = write
  }

  async within<Result>(tx: Tx, fn: () => Result | Promise<Result>): Promise<Result> {
    const scope = { tx, isOpen: true }
    try {
      return await this.#scopes.run(scope, fn)
    } finally {
      scope.isOpen = false
    }
  }

  /** Throws a `StateError` in code that `within` has started and not waited for: its transaction is over. */
  current(): Ambient | undefined {
    const scope = this.#scopes.getStore()
    if (scope !== undefined) return { write: (row) => this.#write(open(scope).tx, row) }
    const unit = this.#unitOfWork?.current()
    // Written just before COMMIT: locks that an INSERT takes are held for a moment only, and rows are in the order of the commits.
    return unit === undefined ? undefined : { write: (row) => unit.buffer(this.#flush, row) }
  }

  // One function object: a unit of work writes what is buffered for the same one together.
  readonly #flush = async (tx: Tx, rows: readonly NewRow[]): Promise<void> => {
    for (const row of rows) await this.#write(tx, row)
  }
}

function open<Tx>(scope: Scope<Tx>): Scope<Tx> {
  if (scope.isOpen) return scope
  throw new StateError(
    'outbox.within() has ended, and with it the transaction that this publish would be part of: await everything in its callback',
  )
}
