import { tableName } from '../../core/util/table-name.ts'

type Query = <Row>(sql: string, params: readonly unknown[]) => Promise<readonly Row[]>

/** A moment: the highest position that had been given out, and a transaction id that was given out after it. */
interface Probe {
  readonly position: number
  readonly transaction: bigint
}

/**
 * Knows up to which position no row can come any more. A transaction takes its id before the position of its first row (the INSERT
 * of the outbox sees to that), and `pg_snapshot_xmin` is the oldest id that is still open. So when it is above an id that was taken
 * after a position was seen, the transaction of that position has ended, in whichever database of the cluster the oldest one is.
 */
export class Finality {
  readonly #sequence: string
  readonly #query: Query
  #probe: Probe | undefined
  #proven: Probe = { position: 0, transaction: 0n }

  constructor(schema: string | undefined, query: Query) {
    this.#sequence = tableName('busbar_outbox_position_seq', schema)
    this.#query = query
  }

  /** SQL of the highest position that was given out: read together with the rows. */
  get headSql(): string {
    return `(SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM ${this.#sequence})`
  }

  /**
   * The last final position, for a read whose snapshot had this `horizon`. `head` is the highest position given out: at rest, when
   * all is final, nothing is asked of the database.
   */
  async after(horizon: bigint, head: number): Promise<number> {
    if (this.#probe !== undefined && horizon > this.#probe.transaction) {
      this.#proven = this.#probe
      this.#probe = undefined
    }
    const { position, transaction } = this.#proven
    if (this.#probe === undefined && head > position) this.#probe = await this.#take()
    // Reads of several relays may overlap, and another one may have proved what this one's snapshot is too old for.
    return horizon > transaction ? position : 0
  }

  /** The scan reads the sequence before the id is taken. */
  async #take(): Promise<Probe> {
    const [row] = await this.#query<{ position: string; transaction: string }>(
      `SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS position, pg_current_xact_id()::text AS transaction FROM ${this.#sequence}`,
      [],
    )
    return { position: Number(row?.position ?? 0), transaction: BigInt(row?.transaction ?? 0) }
  }

  /** Describes the oldest open transaction that has written something. */
  async holder(): Promise<string | undefined> {
    const [row] = await this.#query<{ holder: string }>(
      `SELECT holder FROM (
         SELECT age(backend_xid) AS age, format('pid %s in database %s, open for %s s', pid, datname,
           round(extract(epoch FROM clock_timestamp() - xact_start))) AS holder
         FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
         UNION ALL
         SELECT age(transaction), format('prepared transaction %s in database %s, open for %s s', gid, database,
           round(extract(epoch FROM clock_timestamp() - prepared)))
         FROM pg_prepared_xacts
       ) open ORDER BY age DESC LIMIT 1`,
      [],
    )
    return row?.holder
  }
}
