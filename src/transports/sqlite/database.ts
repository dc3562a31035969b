import { statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import type { SQLInputValue, StatementSync } from 'node:sqlite'
import { FileError } from './file-error.ts'
import type { ResolvedSqliteOptions } from './options.ts'
import type { ThreadError } from './protocol.ts'
import { migrate } from './schema.ts'

export type Row = readonly (null | number | string | Uint8Array)[]

/** SQLite's primary result codes that we treat in a way of their own. */
export const SQLITE = {
  busy: 5,
  locked: 6,
  readonly: 8,
  ioerr: 10,
  corrupt: 11,
  full: 13,
  cantOpen: 14,
  notADatabase: 26,
} as const

/** What a burst leaves of the write-ahead log. A larger one is shrunk, or somebody keeps it from that. */
export const MAX_WAL_BYTES = 67_108_864
/** A nap between two attempts to get the lock takes about a millisecond; that much of one counts, however long it was. */
const MAX_NAP_MS = 50

/** A prepared statement that gives its rows as arrays. */
export class Statement {
  readonly #statement: StatementSync

  constructor(statement: StatementSync) {
    statement.setReturnArrays(true)
    this.#statement = statement
  }

  /** Resolves to how many rows were changed. */
  run(...values: SQLInputValue[]): number {
    return this.#statement.run(...values).changes as number
  }

  row(...values: SQLInputValue[]): Row | undefined {
    return this.#statement.get(...values) as unknown as Row | undefined
  }

  rows(...values: SQLInputValue[]): Row[] {
    return this.#statement.all(...values) as unknown as Row[]
  }

  /** Rows one by one: for when the caller may stop early. */
  iterate(...values: SQLInputValue[]): Iterable<Row> {
    return this.#statement.iterate(...values) as unknown as Iterable<Row>
  }

  /** The first column of the first row, which is a number. */
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

  /** Opens and, when new, creates the file. Throws what SQLite throws, or a `FileError`. */
  constructor(options: ResolvedSqliteOptions) {
    this.#path = options.path
    this.#busyTimeoutMs = options.busyTimeoutMs
    this.#syncs = options.synchronous === 'full'
    this.#db = new DatabaseSync(options.path)
    try {
      this.#db.exec(`PRAGMA busy_timeout = ${options.busyTimeoutMs}`)
      // Several processes may create the file at once, and changing the journal mode does not wait by itself.
      this.#untilFree(() => migrate(this.#db))
      this.#db.exec(`PRAGMA synchronous = ${this.#syncs ? 'FULL' : 'NORMAL'}`)
      this.#syncing = this.#syncs
      this.#db.exec(`PRAGMA cache_size = ${-Math.ceil(options.cacheBytes / 1024)}`)
      this.#db.exec('PRAGMA temp_store = MEMORY')
      // What a burst has left of the log is given back to the file system.
      this.#db.exec(`PRAGMA journal_size_limit = ${MAX_WAL_BYTES}`)
      for (const [name, value] of Object.entries(options.pragmas)) this.#db.exec(`PRAGMA ${name} = ${value}`)
      // SQLite's own waiting naps for up to 100 ms, which starves one process when another writes without a break.
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

  /** Changes when, and only when, another connection has written. */
  dataVersion(): number {
    return this.#version.number()
  }

  /**
   * Runs `work` in one transaction that nobody else writes beside. When it throws, nothing of it was done. `durable` waits
   * for the disk before it returns, unless the options say otherwise.
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
      throw error
    }
  }

  /** Throws when the path leads to another file, or to none: what is written to ours, nobody will ever find. */
  checkFile(): void {
    if (inodeOf(this.#path) !== this.#inode)
      throw new FileError('file-gone', 'the file was deleted, moved or replaced while it was in use')
  }

  /**
   * Only time in which it was tried again and again counts: a process that was frozen or starved must not take its own sleep for
   * a lock.
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
   * Shrinks the write-ahead log when it is larger than it should be. Returns how much of it can't go because another program
   * is in the middle of reading; undefined when that is not much.
   */
  shrinkLog(): number | undefined {
    if (this.#walBytes() <= MAX_WAL_BYTES) return undefined
    const [, pages, written] = this.#checkpoint.row() as readonly [number, number, number]
    // Held up by another checkpoint, or by a commit at this instant: the next look will tell.
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

/** SQLite's extended result code of an error, or undefined when it is not SQLite's. */
function extendedCode(error: unknown): number | undefined {
  const code = (error as { errcode?: unknown } | null)?.errcode
  return typeof code === 'number' ? code : undefined
}

export function primaryCode(error: unknown): number | undefined {
  const code = extendedCode(error)
  return code === undefined ? undefined : code & 0xff
}

/** Makes an error fit for crossing the thread boundary. */
export function toThreadError(error: unknown): ThreadError {
  if (!(error instanceof Error)) return { message: String(error), sqlite: undefined }
  if (error instanceof FileError) return { message: error.message, sqlite: undefined, reason: error.reason }
  return { message: error.message, sqlite: extendedCode(error), stack: error.stack }
}
