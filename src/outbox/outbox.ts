import type { Bus, BusExtension } from '../core/bus-types.ts'
import type { AnyEventDefinition, EventDefinition } from '../core/define.ts'
import { StateError } from '../core/errors.ts'
import type { PublishMiddleware } from '../core/publish/publish-middleware.ts'
import type { PublishItem, PublishOptions } from '../core/publish/publish-options.ts'
import { describe, OptionsReader } from '../core/util/options-reader.ts'
import type { UnitOfWork } from '../stores/unit-of-work.ts'
import { AmbientTransactions } from './ambient.ts'
import { captureMiddleware, conversationOf } from './capture.ts'
import type { CaptureOptions } from './capture.ts'
import { DEFAULT_CHANNEL, insertParams, insertSql, MARK_SQL } from './insert.ts'
import { toRow } from './row.ts'
import type { NewRow } from './row.ts'
import type { TxAdapter } from './tx-adapter.ts'
import { writeError } from './write-error.ts'

/** Options of `createOutbox`. */
export interface OutboxOptions<Tx> {
  /** Your database library: `pgTx()`, `kyselyTx('postgres')` … Required. */
  readonly tx: TxAdapter<Tx>
  /** Schema of the table `busbar_outbox`. Default: found by the search path of the connection. */
  readonly schema?: string | undefined
  /**
   * PostgreSQL: wakes a relay that sleeps with NOTIFY, so that the event leaves within milliseconds. Relays listen with `trigger:
   * 'notify'`. Needs the right to SELECT from `busbar_outbox_relays`. Not for transactions that end with PREPARE TRANSACTION.
   * @default false
   */
  readonly notify?: boolean | undefined
  /** A unit of work whose runs are transactions of this outbox: what is captured in them is written just before COMMIT. */
  readonly unitOfWork?: UnitOfWork<Tx> | undefined
}

/** Options of one message: those of `bus.publish`, without the signal. */
export type OutboxPublishOptions = Omit<PublishOptions, 'signal'>

/** Result of `tryPublish`. */
export type OutboxResult =
  { readonly id: string; readonly error?: undefined } | { readonly id?: undefined; readonly error: Error }

/** Publishes in transactions of your database: an event exists if its transaction was committed, and only then. */
export interface Outbox<Tx> extends BusExtension {
  /** Publishes to a topic without a definition. Otherwise like the overload below. */
  publish(tx: Tx, topic: string, data: unknown, options?: OutboxPublishOptions): Promise<{ readonly id: string }>
  /**
   * Validates and encodes like `bus.publish`, and writes the message in the transaction `tx`, with one INSERT. Resolves with its id
   * when the row is written; a relay sends it after COMMIT. Await it before you commit.
   *
   * - Rejects with a `StateError` when `tx` is not an open transaction. Nothing is written then.
   * - Rejects with `ValidationError` or `CodecError` before it writes, and with the error of your library when the INSERT fails.
   *   PostgreSQL then refuses what follows in the transaction, as after every failed statement.
   * - Messages of one key are sent in the order in which they were written, if their transactions don't overlap or lock the same row
   *   first.
   * - Needs no started bus and no broker.
   */
  publish<Input, Output>(
    tx: Tx,
    event: EventDefinition<Input, Output>,
    data: NoInfer<Input>,
    options?: OutboxPublishOptions,
  ): Promise<{ readonly id: string }>
  /** Like `publish`, but resolves with the error instead of rejecting. After an error of the database, roll back. */
  tryPublish(
    tx: Tx,
    target: string | AnyEventDefinition,
    data: unknown,
    options?: OutboxPublishOptions,
  ): Promise<OutboxResult>
  /** Publishes messages one after the other; rejects with the first error. Resolves with their ids. */
  publishMany<Input, Output>(
    tx: Tx,
    target: string | EventDefinition<Input, Output>,
    items: readonly PublishItem<NoInfer<Input>>[],
    options?: Pick<PublishOptions, 'transport'>,
  ): Promise<readonly { readonly id: string }[]>
  /**
   * Runs `fn`, in which `bus.publish` and `ctx.publish` write to the outbox in `tx`, if the bus has `capture`. Resolves with its
   * result. A publish that comes after `fn` has ended is refused.
   */
  within<Result>(tx: Tx, fn: () => Result | Promise<Result>): Promise<Result>
  /** A publish middleware that writes what is published in a transaction to the outbox. Put it first. */
  capture(options: CaptureOptions): PublishMiddleware
}

/**
 * Creates an outbox. Give it to the bus whose events it writes: `bus.use(outbox)`.
 *
 *     const outbox = createOutbox({ tx: pgTx() })
 *     await bus.use(outbox)
 *     await client.query('BEGIN')
 *     await client.query('INSERT INTO orders VALUES ($1, $2)', [order.id, order.total])
 *     await outbox.publish(client, OrderPlaced, order)
 *     await client.query('COMMIT')
 *
 * Throws `ConfigurationError` for invalid options.
 */
export function createOutbox<Tx>(options: OutboxOptions<Tx>): Outbox<Tx> {
  const reader = new OptionsReader('createOutbox()', options, 'createOutbox({ tx: pgTx() })')
  if (!reader.has('tx')) reader.problem('tx', 'is required: the adapter of your database library, such as pgTx()')
  const tx = reader.withMethods<TxAdapter<Tx>>('tx', ['execute', 'inTransaction'])
  const schema = reader.string('schema', undefined)
  const notify = reader.boolean('notify', false)
  const unitOfWork = reader.withMethods<UnitOfWork<Tx>>('unitOfWork', ['run', 'current'])
  if (notify && tx !== undefined && tx.dialect !== 'postgres')
    reader.problem('notify', `is for PostgreSQL; the adapter is for ${tx.dialect}`)
  reader.done()
  return new TransactionalOutbox(tx as TxAdapter<Tx>, schema, notify, unitOfWork)
}

class TransactionalOutbox<Tx> implements Outbox<Tx> {
  readonly name = 'outbox'
  readonly #tx: TxAdapter<Tx>
  readonly #schema: string | undefined
  readonly #ambient: AmbientTransactions<Tx>
  readonly #sql: string
  readonly #askingSql: string
  #bus: Bus | undefined

  constructor(tx: TxAdapter<Tx>, schema: string | undefined, notify: boolean, unitOfWork: UnitOfWork<Tx> | undefined) {
    this.#tx = tx
    this.#schema = schema
    this.#ambient = new AmbientTransactions(unitOfWork, (transaction, row) => this.#write(transaction, row))
    const { dialect, placeholders } = tx
    const statement = { dialect, placeholders, schema, channel: notify ? DEFAULT_CHANNEL : undefined }
    this.#sql = insertSql({ ...statement, asksServer: false })
    this.#askingSql = insertSql({ ...statement, asksServer: true })
  }

  attach(bus: Bus): void {
    if (this.#bus !== undefined && this.#bus !== bus)
      throw new StateError('An outbox belongs to one bus: make another one')
    this.#bus = bus
  }

  async publish(
    tx: Tx,
    target: string | AnyEventDefinition,
    data: unknown,
    options: OutboxPublishOptions = {},
  ): Promise<{ readonly id: string }> {
    const row = await this.#row(target, data, options)
    await this.#write(tx, row)
    return { id: row.id }
  }

  async tryPublish(
    tx: Tx,
    target: string | AnyEventDefinition,
    data: unknown,
    options?: OutboxPublishOptions,
  ): Promise<OutboxResult> {
    try {
      return await this.publish(tx, target, data, options)
    } catch (error) {
      return { error: error instanceof Error ? error : new Error(String(error), { cause: error }) }
    }
  }

  async publishMany(
    tx: Tx,
    target: string | AnyEventDefinition,
    items: readonly PublishItem[],
    options: Pick<PublishOptions, 'transport'> = {},
  ): Promise<readonly { readonly id: string }[]> {
    const written = []
    for (const { data, ...item } of items) written.push(await this.publish(tx, target, data, { ...item, ...options }))
    return written
  }

  within<Result>(tx: Tx, fn: () => Result | Promise<Result>): Promise<Result> {
    return this.#ambient.within(tx, fn)
  }

  capture(options: CaptureOptions): PublishMiddleware {
    return captureMiddleware(
      options,
      () => this.#ambient.current() !== undefined,
      async ({ event, topic, transport, handled }, { transform: _none, data, ...item }) => {
        const ambient = this.#ambient.current()
        const row = await this.#row(event ?? topic, data, { ...conversationOf(handled), ...item, transport })
        await ambient?.write(row)
      },
    )
  }

  async #row(target: string | AnyEventDefinition, data: unknown, options: OutboxPublishOptions): Promise<NewRow> {
    if (this.#bus === undefined)
      throw new StateError('The outbox has no bus to encode with: call bus.use(outbox) first')
    const message = await this.#bus.encode(target as string, data, options)
    return toRow(message, options.transport)
  }

  async #write(tx: Tx, row: NewRow): Promise<void> {
    const { library, dialect, remedy } = this.#tx
    const state = isObject(tx) ? this.#tx.inTransaction(tx) : false
    if (state === false)
      throw new StateError(
        `outbox.publish needs an open transaction of ${library}, got ${describe(tx)} that is none: ${remedy}. Nothing was written`,
      )
    const params = insertParams(row, dialect)
    try {
      if (state === true) await this.#tx.execute(tx, this.#sql, params)
      else
        await settled([() => this.#tx.execute(tx, MARK_SQL, []), () => this.#tx.execute(tx, this.#askingSql, params)])
    } catch (error) {
      throw writeError(error, { library, remedy, dialect, schema: this.#schema })
    }
  }
}

/** Makes the calls in one turn, and rejects with the first error when all have ended. */
async function settled(calls: readonly (() => unknown)[]): Promise<void> {
  const results = await Promise.allSettled(calls.map(async (call) => call()))
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

function isObject(value: unknown): boolean {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}
