import { resolve as resolvePath } from 'node:path'
import { OptionsReader } from '../../core/util/options-reader.ts'

/** Options of `sqlite`. */
export interface SqliteOptions {
  /** The database file. It is created if missing; its folder is not. Relative to the working directory. */
  readonly path: string
  /**
   * `full`: a confirmed publish survives a power cut (the write-ahead log is synced before the confirmation). `normal`:
   * it survives the end of the process, but a power cut may lose the most recent ones. Default `full`.
   */
  readonly synchronous?: 'full' | 'normal' | undefined
  /** How long after a process died or hung its messages go to other processes, in ms. Default 30,000. */
  readonly leaseMs?: number | undefined
  /** How often a waiting consumer looks for what other processes published, in ms. Default 25. */
  readonly pollIntervalMs?: number | undefined
  /** How long a write waits while other processes hold the file's lock, in ms. Default 5,000. */
  readonly busyTimeoutMs?: number | undefined
  /**
   * Limits beyond which stored messages are deleted in the background; `false` keeps everything. Default: settled
   * messages are deleted after 7 days or beyond 1 GiB.
   */
  readonly retention?: SqliteRetentionOptions | false | undefined
  /** Maximum size of body plus headers, in bytes. Default 16 MiB. */
  readonly maxMessageBytes?: number | undefined
  /** Size of SQLite's page cache, in bytes. Default 16 MiB. */
  readonly cacheBytes?: number | undefined
  /** SQLite's own settings, at your own risk. */
  readonly native?: SqliteNativeOptions | undefined
}

/** Limits beyond which stored messages are deleted. */
export interface SqliteRetentionOptions {
  /** Settled messages older than this are deleted, in ms. Default 604,800,000 (7 days). */
  readonly maxAgeMs?: number | undefined
  /** Maximum size of the stored messages, in bytes; beyond it the oldest settled ones are deleted. Default 1 GiB. */
  readonly maxBytes?: number | undefined
  /**
   * Keeps messages that some group has not acked beyond both limits. False deletes them too, unless they are in flight,
   * and reports it as a `loss` event. Default true.
   */
  readonly keepUnacked?: boolean | undefined
  /** Dead letters older than this are deleted, in ms. Default: never. */
  readonly deadLetterMaxAgeMs?: number | undefined
  /** How often the limits are checked, in ms. Default 30,000. */
  readonly checkIntervalMs?: number | undefined
}

/** Settings of SQLite itself, at your own risk. */
export interface SqliteNativeOptions {
  /** Run as `PRAGMA name = value` on our connection after our own settings: `{ mmap_size: 268435456 }`. */
  readonly pragmas?: Readonly<Record<string, string | number>> | undefined
}

export interface ResolvedSqliteRetention {
  readonly maxAgeMs: number
  readonly maxBytes: number
  readonly keepUnacked: boolean
  readonly deadLetterMaxAgeMs: number | undefined
  readonly checkIntervalMs: number
}

/** Plain data: it is copied to the worker. */
export interface ResolvedSqliteOptions {
  readonly path: string
  readonly synchronous: 'full' | 'normal'
  readonly leaseMs: number
  readonly pollIntervalMs: number
  readonly busyTimeoutMs: number
  readonly retention: ResolvedSqliteRetention | undefined
  readonly maxMessageBytes: number
  readonly cacheBytes: number
  readonly pragmas: Readonly<Record<string, string | number>>
}

const SQLITE_DEFAULTS = {
  synchronous: 'full',
  leaseMs: 30_000,
  pollIntervalMs: 25,
  busyTimeoutMs: 5_000,
  maxMessageBytes: 16_777_216,
  cacheBytes: 16_777_216,
  retention: {
    maxAgeMs: 604_800_000,
    maxBytes: 1_073_741_824,
    keepUnacked: true,
    checkIntervalMs: 30_000,
  },
} as const

/** SQLite takes values up to 2^31 - 1 bytes; the rest is for the row's other columns. */
const MAX_MESSAGE_BYTES = 1_000_000_000

export function resolveSqliteOptions(options: SqliteOptions): ResolvedSqliteOptions {
  const reader = new OptionsReader('sqlite', options, "sqlite({ path: './busbar.db' })")
  const resolved: ResolvedSqliteOptions = {
    path: resolveFile(reader),
    synchronous: reader.oneOf('synchronous', ['full', 'normal'], SQLITE_DEFAULTS.synchronous),
    leaseMs: reader.integer('leaseMs', SQLITE_DEFAULTS.leaseMs, { min: 100, max: 86_400_000 }),
    pollIntervalMs: reader.integer('pollIntervalMs', SQLITE_DEFAULTS.pollIntervalMs, { min: 1, max: 60_000 }),
    busyTimeoutMs: reader.integer('busyTimeoutMs', SQLITE_DEFAULTS.busyTimeoutMs, { max: 600_000 }),
    retention: resolveRetention(reader),
    maxMessageBytes: reader.integer('maxMessageBytes', SQLITE_DEFAULTS.maxMessageBytes, {
      min: 1,
      max: MAX_MESSAGE_BYTES,
    }),
    cacheBytes: reader.integer('cacheBytes', SQLITE_DEFAULTS.cacheBytes, { min: 65_536 }),
    pragmas: resolvePragmas(reader),
  }
  reader.done()
  return Object.freeze(resolved)
}

function resolveFile(reader: OptionsReader): string {
  const path = reader.requiredString('path')
  if (path === '') return path
  if (path === ':memory:' || path.startsWith('file:')) {
    const hint = path === ':memory:' ? 'for a broker without a file use memory() of busbar/memory' : 'give a plain path'
    reader.problem('path', `must name a file, got "${path}": ${hint}`)
    return path
  }
  if (path.includes('\0')) reader.problem('path', 'holds a NUL character')
  return resolvePath(path)
}

function resolveRetention(reader: OptionsReader): ResolvedSqliteRetention | undefined {
  if (reader.raw('retention') === false) return undefined
  const nested = reader.nested('retention')
  const defaults = SQLITE_DEFAULTS.retention
  return Object.freeze({
    maxAgeMs: nested.integer('maxAgeMs', defaults.maxAgeMs, { min: 1 }),
    maxBytes: nested.integer('maxBytes', defaults.maxBytes, { min: 1 }),
    keepUnacked: nested.boolean('keepUnacked', defaults.keepUnacked),
    deadLetterMaxAgeMs: nested.integer('deadLetterMaxAgeMs', undefined, { min: 1 }),
    checkIntervalMs: nested.integer('checkIntervalMs', defaults.checkIntervalMs, { min: 10, max: 86_400_000 }),
  })
}

const PRAGMA_NAME = /^[a-z_]+$/
const PRAGMA_VALUE = /^[A-Za-z0-9_.-]+$/

function resolvePragmas(reader: OptionsReader): Readonly<Record<string, string | number>> {
  const pragmas: Record<string, string | number> = {}
  const given = reader.nested('native').raw('pragmas')
  if (given === undefined) return pragmas
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    reader.problem('native.pragmas', 'must be an object of names and values')
    return pragmas
  }
  for (const [name, value] of Object.entries(given)) {
    const plain =
      typeof value === 'number' ? Number.isFinite(value) : typeof value === 'string' && PRAGMA_VALUE.test(value)
    if (!PRAGMA_NAME.test(name)) reader.problem('native.pragmas', `"${name}" is not the name of a pragma`)
    else if (!plain) reader.problem(`native.pragmas.${name}`, 'must be a number or a plain word')
    else pragmas[name] = value as string | number
  }
  return Object.freeze(pragmas)
}
