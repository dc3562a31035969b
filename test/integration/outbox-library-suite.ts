import type { Pool } from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createBus, defineEvent, StateError } from 'busbar'
import { memory } from 'busbar/memory'
import { createOutbox } from 'busbar/outbox'
import type { Outbox, TxAdapter } from 'busbar/outbox'
import { uniqueName } from 'busbar/testing'
import { createOutboxTables } from '../../src/stores/postgres/outbox-schema.ts'

/** A database library whose adapter is tested. */
export interface LibraryUnderTest<Tx> {
  readonly name: string
  readonly tx: TxAdapter<Tx>
  /** The transaction that the library's users write; rolled back when the body rejects. */
  transaction(body: (tx: Tx) => Promise<void>): Promise<void>
  /** The same with a savepoint. */
  savepoint(tx: Tx, body: (tx: Tx) => Promise<void>): Promise<void>
  /** Runs a statement of the user without parameters. */
  run(tx: Tx, sql: string): Promise<unknown>
  /** What is no open transaction, by name. */
  readonly refused: Readonly<Record<string, () => Tx | Promise<Tx>>>
}

const OrderPlaced = defineEvent<{ id: string; bytes?: string }>('orders.placed', { key: (order) => order.id })

/** What each adapter must do, on a real server: cases 01, 02 and 04. */
export function outboxLibrarySuite<Tx>(pool: Pool, open: (schema: string) => Promise<LibraryUnderTest<Tx>>): void {
  const schema = uniqueName('outbox')
  let library: LibraryUnderTest<Tx>
  let outbox: Outbox<Tx>
  // Never started: writing needs no broker.
  const bus = createBus({ service: 'shop', transport: memory() })

  beforeAll(async () => {
    await pool.query(`CREATE SCHEMA "${schema}"`)
    await pool.query(createOutboxTables(schema))
    await pool.query(`CREATE TABLE "${schema}".orders (id text PRIMARY KEY)`)
    library = await open(schema)
    outbox = createOutbox({ tx: library.tx, schema })
    await bus.use(outbox)
  })
  afterAll(async () => {
    await pool.query(`DROP SCHEMA "${schema}" CASCADE`)
    await bus.close()
  })

  const insertOrder = (tx: Tx, id: string): Promise<unknown> =>
    library.run(tx, `INSERT INTO "${schema}".orders VALUES ('${id}')`)
  const ids = async (table: string, column: string): Promise<string[]> => {
    const { rows } = await pool.query<{ id: string }>(`SELECT ${column} AS id FROM "${schema}".${table} ORDER BY 1`)
    return rows.map(({ id }) => id)
  }

  it('01: events are those of committed work, without those of savepoints that were rolled back', async () => {
    const rolledBack = new Error('rolled back')
    const works = Array.from({ length: 40 }, (_, index) => async (): Promise<void> => {
      await library
        .transaction(async (tx) => {
          const id = `order-${index}`
          await insertOrder(tx, id)
          await outbox.publish(tx, OrderPlaced, { id }, { id })
          if (index % 4 === 0) {
            const inner = library.savepoint(tx, async (nested) => {
              await insertOrder(nested, `${id}-inner`)
              await outbox.publish(nested, OrderPlaced, { id }, { id: `${id}-inner` })
              if (index % 8 === 0) throw rolledBack
            })
            await inner.catch((error: unknown) => {
              if (!isCausedBy(error, rolledBack)) throw error
            })
          }
          if (index % 2 === 1) throw rolledBack
        })
        .catch((error: unknown) => {
          if (!isCausedBy(error, rolledBack)) throw error
        })
    })
    for (let at = 0; at < works.length; at += 4) await Promise.all(works.slice(at, at + 4).map((work) => work()))
    const orders = await ids('orders', 'id')
    expect(orders).toHaveLength(25)
    expect(await ids('busbar_outbox', 'id')).toEqual(orders)
    expect(new Set(await ids('busbar_outbox', 'key')).size).toBe(20)
  })

  it('02: what is no open transaction is refused, by the name of the library, and nothing is written', async () => {
    for (const [what, make] of Object.entries(library.refused)) {
      const before = await ids('busbar_outbox', 'id')
      const tx = await make()
      const error = await outbox.publish(tx, OrderPlaced, { id: what }).catch((thrown: unknown) => thrown)
      expect(StateError.is(error), `${what}: ${String(error)}`).toBe(true)
      expect((error as Error).message, what).toContain(library.tx.library)
      expect(await ids('busbar_outbox', 'id'), what).toEqual(before)
      expect(await outbox.tryPublish(tx, OrderPlaced, { id: what }), what).toMatchObject({
        error: { code: 'BUSBAR_STATE' },
      })
    }
    // What was refused has broken nothing.
    await library.transaction(
      async (tx) => void (await outbox.publish(tx, OrderPlaced, { id: 'after' }, { id: 'after' })),
    )
    expect(await ids('busbar_outbox', 'id')).toContain('after')
  })

  it('04: the row has the id that was returned, and exactly the bytes', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index))
    let id = ''
    await library.transaction(async (tx) => {
      const options = { key: 'k?1', headers: { tenant: 'a?b$1' }, delayMs: 60_000 }
      ;({ id } = await outbox.publish(tx, 'files', bytes, options))
    })
    const { rows } = await pool.query<{ body: Buffer; headers: object; key: string; late: boolean }>(
      `SELECT body, headers, key, available_at > now() + interval '50 s' AS late FROM "${schema}".busbar_outbox WHERE id = $1`,
      [id],
    )
    expect(rows).toHaveLength(1)
    expect(rows[0]?.body.equals(bytes)).toBe(true)
    expect(rows[0]).toMatchObject({ key: 'k?1', late: true })
    expect(rows[0]?.headers).toMatchObject({ source: 'shop', headers: { tenant: 'a?b$1' } })
  })

  it('a missing table is named, with what to do', async () => {
    const elsewhere = createOutbox({ tx: library.tx, schema: `${schema}_none` })
    elsewhere.attach?.(bus)
    const failed = library.transaction(async (tx) => void (await elsewhere.publish(tx, 'orders.placed', 1)))
    const error = await failed.catch((thrown: unknown) => thrown)
    expect((error as Error).message).toContain('busbar outbox migrate')
  })
}

function isCausedBy(error: unknown, cause: Error): boolean {
  return error === cause || (error instanceof Error && error.cause === cause)
}
