import { statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import type { SQLInputValue, StatementSync } from 'node:sqlite'
import { FileError } from './file-error.ts'
import type { ResolvedSqliteOptions } from '../options.ts'
import type { ThreadError } from '../protocol.ts'
import { checkVersion, migrate } from './schema.ts'

export type Row = readonly (null | number | string | Uint8Array)[]

/** SQLite's primary result codes that need special treatment. */
export const SQLITE = {
  error: 1,
  busy: 5,
  locked: 6,
  readonly: 8,
  ioerr: 10,
  corrupt: 11,
  full: 13,
  cantOpen: 14,
  notADatabase: 26,
} as const

/** Size to which the write-ahead log is limited after a burst. A larger one is shrunk, unless a reader prevents that. */
const MAX_WAL_BYTES = 67_108_864
/**
 * A pause between two attempts to get the lock takes about a millisecond; at most this much of a pause counts, however
 * long it was.
 */
const MAX_NAP_MS = 50

/** A prepared statement that returns rows as arrays. */
export class Statement {
  readonly #statement: StatementSync

  constructor(statement: StatementSync) {
    statement.setReturnArrays(true)
    this.#statement = statement
  }

  /** Returns the number of changed rows. */
  run(...values: SQLInputValue[]): number {
    return this.#statement.run(...values).changes as number
  }

  row(...values: SQLInputValue[]): Row | undefined {
    return this.#statement.get(...values) as unknown as Row | undefined
  }

  rows(...values: SQLInputValue[]): Row[] {
    return this.#statement.all(...values) as unknown as Row[]
  }

  /** Returns rows one by one, for callers that may stop early. */
  iterate(...values: SQLInputValue[]): Iterable<Row> {
    return this.#statement.iterate(...values) as unknown as Iterable<Row>
  }

  /** The first column of the first row, as a number. */
  number(...values: SQLInputValue[]): number {
    return (this.row(...values)?.[0] ?? 0) as number
  }
}

/** One connection to the file: its settings, its transactions, and how it waits for other processes. */
export class Database {
  readonly #db: DatabaseSync
  readonly #path: string
  readonly #inode: number | undefined
  readonly #busyTimeoutMs: number
  readonly #syncs: boolean
  #syncing = true
  readonly #version: Statement
  readonly #checkpoint: Statement
  readonly #truncate: Statement
  readonly #pageBytes: Statement
  readonly #nap = new Int32Array(new SharedArrayBuffer(4))

  /** Opens the file and creates it if it is new. Throws SQLite's errors, or a `FileError`. */
  constructor(options: ResolvedSqliteOptions) {
    this.#path = options.path
    this.#busyTimeoutMs = options.busyTimeoutMs
    this.#syncs = options.synchronous === 'full'
    this.#db = new DatabaseSync(options.path)
    try {
      this.#db.exec(`PRAGMA busy_timeout = ${options.busyTimeoutMs}`)
      // Several processes may create the file at once, and changing the journal mode does not wait for the lock.
      this.#untilFree(() => migrate(this.#db))
      this.#db.exec(`PRAGMA synchronous = ${this.#syncs ? 'FULL' : 'NORMAL'}`)
      this.#syncing = this.#syncs
      this.#db.exec(`PRAGMA cache_size = ${-Math.ceil(options.cacheBytes / 1024)}`)
      this.#db.exec('PRAGMA temp_store = MEMORY')
      // Gives space that a burst used in the log back to the file system.
      this.#db.exec(`PRAGMA journal_size_limit = ${MAX_WAL_BYTES}`)
      for (const [name, value] of Object.entries(options.pragmas)) this.#db.exec(`PRAGMA ${name} = ${value}`)
      // SQLite's own busy handler sleeps for up to 100 ms at a time, which starves one process while another writes
      // continuously.
      this.#db.exec('PRAGMA busy_timeout = 0')
      this.#inode = inodeOf(options.path)
      this.#version = this.prepare('PRAGMA data_version')
      this.#checkpoint = this.prepare('PRAGMA wal_checkpoint(PASSIVE)')
      this.#truncate = this.prepare('PRAGMA wal_checkpoint(TRUNCATE)')
      this.#pageBytes = this.prepare('PRAGMA page_size')
    } catch (error) {
      this.#db.close()
      throw error
    }
  }

  prepare(sql: string): Statement {
    return new Statement(this.#db.prepare(sql))
  }

  /** Changes if and only if another connection has written. */
  dataVersion(): number {
    return this.#version.number()
  }

  /**
   * Runs `work` in one exclusive write transaction. If it throws, the transaction is rolled back. `durable` waits for
   * the disk before it returns, unless the options say otherwise.
   */
  transaction<Result>(durable: boolean, work: () => Result): Result {
    if (durable) this.checkFile()
    const syncing = durable && this.#syncs
    if (syncing !== this.#syncing) {
      this.#db.exec(`PRAGMA synchronous = ${syncing ? 'FULL' : 'NORMAL'}`)
      this.#syncing = syncing
    }
    this.#untilFree(() => this.#db.exec('BEGIN IMMEDIATE'))
    try {
      const result = work()
      this.#db.exec('COMMIT')
      return result
    } catch (error) {
      // Some errors (a full disk) end the transaction by themselves.
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
      // A statement does not fit the schema (any more): a newer Busbar may have migrated the file.
      if (primaryCode(error) === SQLITE.error) checkVersion(this.#db)
      throw error
    }
  }

  /** Throws when the path leads to another file, or to none: no other process would find what is written to ours. */
  checkFile(): void {
    if (inodeOf(this.#path) !== this.#inode)
      throw new FileError('file-gone', 'the file was deleted, moved or replaced while it was in use')
  }

  /**
   * Counts only time spent on repeated attempts: a process that was frozen or starved must not mistake its own sleep
   * for a lock.
   */
  #untilFree(attempt: () => void): void {
    let waited = 0
    let last = performance.now()
    for (;;) {
      try {
        attempt()
        return
      } catch (error) {
        const now = performance.now()
        waited += Math.min(now - last, MAX_NAP_MS)
        last = now
        if (primaryCode(error) !== SQLITE.busy || waited >= this.#busyTimeoutMs) throw error
        Atomics.wait(this.#nap, 0, 0, 0.2 + Math.random())
      }
    }
  }

  /**
   * Shrinks the write-ahead log when it is too large. Returns how much of it can't be removed because another program
   * is reading, or undefined when that is little.
   */
  shrinkLog(): number | undefined {
    if (this.#walBytes() <= MAX_WAL_BYTES) return undefined
    const [, pages, written] = this.#checkpoint.row() as readonly [number, number, number]
    // Held up by another checkpoint or by a commit at this moment: the next check decides.
    if (pages > written) {
      const held = (pages - written) * this.#pageBytes.number()
      return held > MAX_WAL_BYTES ? held : undefined
    }
    this.#truncate.row()
    return undefined
  }

  #walBytes(): number {
    return statSync(`${this.#path}-wal`, { throwIfNoEntry: false })?.size ?? 0
  }

  close(): void {
    if (this.#db.isOpen) this.#db.close()
  }
}

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino
}

/** SQLite's extended result code of an error, or undefined for other errors. */
function extendedCode(error: unknown): number | undefined {
  const code = (error as { errcode?: unknown } | null)?.errcode
  return typeof code === 'number' ? code : undefined
}

export function primaryCode(error: unknown): number | undefined {
  const code = extendedCode(error)
  return code === undefined ? undefined : code & 0xff
}

const FILE_CODES = new Set<number>([
  SQLITE.busy,
  SQLITE.locked,
  SQLITE.readonly,
  SQLITE.ioerr,
  SQLITE.corrupt,
  SQLITE.cantOpen,
  SQLITE.notADatabase,
])

/** Whether the error is one of the file as a whole, so that nothing else would succeed either. A full disk has room for less. */
export function concernsFile(error: unknown): boolean {
  return error instanceof FileError || FILE_CODES.has(primaryCode(error) ?? -1)
}

/** Turns an error into one that can cross the thread boundary. */
export function toThreadError(error: unknown): ThreadError {
  if (!(error instanceof Error)) return { message: String(error), sqlite: undefined }
  if (error instanceof FileError) return { message: error.message, sqlite: undefined, reason: error.reason }
  return { message: error.message, sqlite: extendedCode(error), stack: error.stack }
}
