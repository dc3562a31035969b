import { CommitUnknownError } from '../core/errors.ts'
import type { Handler } from '../core/handler.ts'
import type { Message } from '../core/message.ts'
import { notify } from '../core/util/notify.ts'
import { OptionsReader } from '../core/util/options-reader.ts'
import { inTransaction } from '../stores/in-transaction.ts'
import type { TransactionContext } from '../stores/in-transaction.ts'
import type { UnitOfWork } from '../stores/unit-of-work.ts'
import { messageKey } from './message-key.ts'
import type { InboxStore } from './store.ts'

/** Options of `createInbox`. */
export interface InboxOptions<Tx> {
  /** The transactions of your handlers: `postgresUnitOfWork`, `sqliteUnitOfWork`, or your own. Required. */
  readonly unitOfWork: UnitOfWork<Tx>
  /** The table: `postgresInboxStore`, `sqliteInboxStore`. Required. */
  readonly store: InboxStore<Tx>
  /**
   * How long a handled message is remembered, in ms. Longer than a message may come again: the retention of the topic, the time until
   * a dead letter is redriven, and the time that an outbox may wait. @default 1_209_600_000 (14 days)
   */
  readonly ttlMs?: number | undefined
  /**
   * Called when a message was skipped because it had been handled before, after the transaction. When it throws, the message is acked
   * all the same, and the error becomes a process warning (`BUSBAR_CALLBACK`).
   */
  readonly onDuplicate?: ((message: Message) => void) | undefined
}

/** Handles each message once. */
export interface Inbox<Tx> {
  /**
   * Makes a handler whose effects happen once: what it writes with `ctx.tx` and the record of the message are one transaction. A
   * message that was handled before is acked without a call of the handler.
   *
   *     bus.consume(PaymentTaken, inbox.handler(async ({ data }, ctx) => {
   *       await ctx.tx.query('UPDATE account SET cents = cents + $1 WHERE id = $2', [data.cents, data.account])
   *     }))
   *
   * When the handler throws, rejects, asks for a retry, or passes its deadline, everything is rolled back, the record too. What it
   * publishes is part of the transaction if it goes through an outbox. Mails and calls of other services are not: give them an
   * `idempotencyKey`.
   *
   * A commit whose outcome is unknown, a deadlock, and a serialization failure use no attempt: the message comes again, and the record
   * says whether it was handled.
   */
  handler<Data = unknown>(handle: (message: Message<Data>, ctx: TransactionContext<Tx>) => unknown): Handler<Data>
}

const FOURTEEN_DAYS = 14 * 86_400_000
/** Every so many messages, at most this many expired records are deleted: more than can have been added meanwhile. */
const CLEAN = { every: 256, most: 1_000 } as const
const AGAIN_MS = 100
const DUPLICATE = Symbol('duplicate')

/**
 * Creates an inbox.
 *
 *     const inbox = createInbox({
 *       unitOfWork: postgresUnitOfWork({ client: pool }),
 *       store: postgresInboxStore({ client: pool }),
 *     })
 *
 * Throws `ConfigurationError` for invalid options.
 */
export function createInbox<Tx>(options: InboxOptions<Tx>): Inbox<Tx> {
  const reader = new OptionsReader('createInbox()', options, 'createInbox({ unitOfWork, store })')
  if (!reader.has('unitOfWork')) reader.problem('unitOfWork', 'is required, such as postgresUnitOfWork({ client })')
  if (!reader.has('store')) reader.problem('store', 'is required, such as postgresInboxStore({ client })')
  const unitOfWork = reader.withMethods<UnitOfWork<Tx>>('unitOfWork', ['run', 'current'])
  const store = reader.withMethods<InboxStore<Tx>>('store', ['record', 'purge'])
  const ttlMs = reader.integer('ttlMs', FOURTEEN_DAYS, { min: 1 })
  const onDuplicate = reader.callable<(message: Message) => void>('onDuplicate')
  reader.done()
  return new TransactionalInbox(unitOfWork as UnitOfWork<Tx>, store as InboxStore<Tx>, ttlMs, onDuplicate)
}

class TransactionalInbox<Tx> implements Inbox<Tx> {
  readonly #unitOfWork: UnitOfWork<Tx>
  readonly #store: InboxStore<Tx>
  readonly #ttlMs: number
  readonly #onDuplicate: ((message: Message) => void) | undefined
  // Of many processes that each handle few messages, some must clean up.
  #handled = Math.floor(Math.random() * CLEAN.every)
  #isCleaning = false

  constructor(
    unitOfWork: UnitOfWork<Tx>,
    store: InboxStore<Tx>,
    ttlMs: number,
    onDuplicate: ((message: Message) => void) | undefined,
  ) {
    this.#unitOfWork = unitOfWork
    this.#store = store
    this.#ttlMs = ttlMs
    this.#onDuplicate = onDuplicate
  }

  handler<Data>(handle: (message: Message<Data>, ctx: TransactionContext<Tx>) => unknown): Handler<Data> {
    const inside = inTransaction<Tx, Data>(this.#unitOfWork, async (message, ctx) => {
      const key = messageKey(message, ctx)
      if (await this.#store.record(ctx.tx, key, this.#ttlMs)) return handle(message, ctx)
      return DUPLICATE
    })
    return async (message, ctx) => {
      let result: unknown
      try {
        result = await inside(message, ctx)
      } catch (error) {
        if (CommitUnknownError.is(error) || this.#store.mayPass(error))
          ctx.retry({ countAttempt: false, delayMs: AGAIN_MS, cause: error })
        throw error
      }
      const onDuplicate = this.#onDuplicate
      if (result === DUPLICATE && onDuplicate !== undefined)
        notify('onDuplicate of createInbox()', () => onDuplicate(message))
      if (++this.#handled % CLEAN.every === 0) void this.#clean()
    }
  }

  /** What fails here is done later: the message that was handled must not fail for it. */
  async #clean(): Promise<void> {
    if (this.#isCleaning) return
    this.#isCleaning = true
    try {
      await this.#store.purge(CLEAN.most)
    } catch {
      this.#handled--
    } finally {
      this.#isCleaning = false
    }
  }
}
