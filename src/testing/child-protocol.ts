import { closeSync, openSync, readSync } from 'node:fs'
import type { Bus } from '../core/bus-types.ts'
import type { HealthReport } from '../core/health.ts'
import type { ConsumeOptions } from '../core/consume/consume-options.ts'

/** How the built-in handler of a child behaves. */
export interface ChildHandler {
  /** How long it works before it succeeds, in ms. Default 0. */
  readonly workMs?: number | undefined
  /** Attempts up to this number never end. Default 0. */
  readonly hangUpTo?: number | undefined
  /** Attempts up to this number fail. Default 0. */
  readonly failUpTo?: number | undefined
  /** Publishes its data to this topic, with its key and a new id, before it succeeds. */
  readonly publishTo?: string | undefined
  /** Kills its own process (SIGKILL) when the data is this number. */
  readonly diesOf?: number | undefined
  /** Delay that a failing attempt asks for (`ctx.retry`), in ms. Default: it throws. */
  readonly retryDelayMs?: number | undefined
}

/** How a child publishes in transactions. */
export interface ChildTransaction {
  /** Number of messages in each. */
  readonly size: number
  /** Topic of every second message of each. */
  readonly otherTopic: string
}

/** Options that can be passed to another process. */
export type PlainConsumeOptions = Omit<ConsumeOptions, 'middleware' | 'retry' | 'native'> & {
  readonly retry?: Omit<NonNullable<Exclude<ConsumeOptions['retry'], false>>, 'retryIf'> | false | undefined
}

/** Writes a record that survives a SIGKILL of the process. */
export type ChildRecorder = (type: ChildRecord['type'], id: string, more?: Partial<ChildRecord>) => void

/**
 * What the module of a `childProgram` exports as `run`. The child calls it before the bus starts, to add consumers; it
 * calls the returned function once the bus has started, to publish. A publish rejects with a `StateError` when the
 * child is stopped.
 */
export type ChildProgram<Argument> = (
  bus: Bus,
  record: ChildRecorder,
  argument: Argument,
) => (() => Promise<void>) | undefined

/** What the child gets on its command line. */
export type ChildTask = {
  /** URL of a module that exports `create()`, which makes a transport. */
  readonly module: string
  /** The file that the records are written to. */
  readonly record: string
  readonly service: string
  readonly topic: string
} & (
  | { readonly role: 'consume'; readonly options: PlainConsumeOptions; readonly handler: ChildHandler }
  | {
      readonly role: 'publish'
      readonly count: number
      readonly keys: number
      readonly outstanding: number
      readonly transaction: ChildTransaction | undefined
    }
  | { readonly role: 'program'; readonly program: string; readonly argument: unknown }
)

/**
 * One thing that happened to one message in a child.
 *
 * - `start`: a handler received it; `lasting`: that handler has run long enough for the broker to know of it; `done`:
 *   the handler succeeded; `failed`: it failed; `acked`: the broker confirmed the ack; `rejected`: the handler of a
 *   program rejected it;
 * - `sent`: the child calls publish; `confirmed`: the promise resolved; `failed`: it rejected, `detail` has the
 *   outcome.
 */
export interface ChildRecord {
  readonly type: 'start' | 'lasting' | 'done' | 'acked' | 'rejected' | 'sent' | 'confirmed' | 'failed'
  readonly id: string
  readonly key?: string | undefined
  readonly attempt?: number | undefined
  readonly detail?: string | undefined
  /** Milliseconds since 1970 in the child. */
  readonly at: number
}

/** From parent to child. */
export type ChildCommand = { readonly type: 'stop' } | { readonly type: 'health' }

/** From child to parent. */
export type ChildNotice =
  | { readonly type: 'ready' }
  | { readonly type: 'health'; readonly report: HealthReport }
  | { readonly type: 'error'; readonly message: string }

/** Reads a growing file of records, each line once. */
export class RecordReader {
  readonly #path: string
  readonly #buffer = Buffer.allocUnsafe(65_536)
  #offset = 0
  #rest = Buffer.alloc(0)

  constructor(path: string) {
    this.#path = path
  }

  /** The records added since the last call. A line cut short by a crash is left out. */
  read(): ChildRecord[] {
    const found: ChildRecord[] = []
    const file = openSync(this.#path, 'r')
    try {
      for (;;) {
        const length = readSync(file, this.#buffer, 0, this.#buffer.byteLength, this.#offset)
        if (length === 0) return found
        this.#offset += length
        const bytes = Buffer.concat([this.#rest, this.#buffer.subarray(0, length)])
        const end = bytes.lastIndexOf(0x0a) + 1
        this.#rest = Buffer.from(bytes.subarray(end))
        for (const line of bytes.toString('utf8', 0, end).split('\n'))
          if (line !== '') found.push(JSON.parse(line) as ChildRecord)
      }
    } finally {
      closeSync(file)
    }
  }
}
