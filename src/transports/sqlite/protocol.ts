import type { StartFrom } from '../../core/transport.ts'
import type { ResolvedSqliteOptions } from './options.ts'

/*
 * The protocol between the transport and its database thread. Messages travel as columns: a handful of arrays and one
 * buffer for all bodies cross a thread boundary several times faster than that many objects.
 */

/** Columns of `OutgoingColumns.numbers`, one row per message. */
export const OUT = { topic: 0, time: 1, deliverAt: 2, target: 3, meta: 4, bodyBytes: 5, stride: 6 } as const

/** Messages on their way into the log. */
export interface OutgoingColumns {
  readonly ids: readonly string[]
  readonly keys: readonly (string | null)[]
  /** Consecutive duplicates are stored once; see `OUT.meta`. */
  readonly metas: readonly string[]
  /** Names that `OUT.topic` points to. */
  readonly topics: readonly string[]
  /** Groups that `OUT.target` points to; -1 for all groups. */
  readonly targets: readonly string[]
  /** `deliverAt` is NaN for now. */
  readonly numbers: Float64Array
  /** All bodies, end to end. */
  readonly bodies: Uint8Array
}

/** Columns of `StoredColumns.numbers`, one row per message. */
export const IN = {
  seq: 0,
  time: 1,
  attempt: 2,
  /** See `HISTORY`. */
  history: 3,
  firstAt: 4,
  meta: 5,
  bodyBytes: 6,
  size: 7,
  stride: 8,
} as const

/** Messages of one topic on their way out of the log. */
export interface StoredColumns {
  readonly topic: string
  readonly ids: readonly string[]
  readonly keys: readonly (string | null)[]
  readonly metas: readonly string[]
  readonly numbers: Float64Array
  readonly bodies: Uint8Array
}

/** Codes of `SettleCommand.outcomes`. `unseen`: the message is returned as if never handed out. */
export const OUTCOME = { ack: 0, nack: 1, release: 2, drop: 3, deadLetter: 4, unseen: 5 } as const

export interface SubscribeSpec {
  readonly topic: string
  readonly group: string
  readonly order: 'none' | 'key' | 'strict'
  readonly ephemeral: boolean
  readonly from: StartFrom
  readonly maxPerKey: number
  readonly consumerId: string
}

export type AdminRequest =
  | { readonly method: 'ensureTopic'; readonly topic: string }
  | { readonly method: 'topics' }
  | { readonly method: 'groups'; readonly topic: string | undefined }
  | { readonly method: 'seek'; readonly topic: string; readonly group: string; readonly to: StartFrom }
  | { readonly method: 'read'; readonly topic: string; readonly after: number; readonly limit: number }
  | { readonly method: 'remove'; readonly topic: string; readonly seqs: readonly number[] }
  | { readonly method: 'purge'; readonly topic: string }
  | { readonly method: 'deleteGroup'; readonly topic: string; readonly group: string }

/** A command with a `call` gets exactly one reply with the same `call`. */
export type Command =
  | { readonly kind: 'publish'; readonly call: number; readonly batch: OutgoingColumns }
  | {
      readonly kind: 'settle'
      readonly call: number
      readonly sub: number
      readonly tokens: Float64Array
      readonly outcomes: Uint8Array
      readonly delays: Float64Array | undefined
      /** Attempts used by the deliveries that are given back. */
      readonly used: Float64Array | undefined
      /** Messages to store with the outcomes, in their order: dead letters, and what is published with an ack. */
      readonly messages: OutgoingColumns | undefined
      /** How many of them belong to each outcome. Present with `messages`. */
      readonly messageCounts: Uint32Array | undefined
    }
  /** See `TransportSubscription.noteAttempts`. */
  | {
      readonly kind: 'note'
      readonly call: number
      readonly sub: number
      readonly tokens: Float64Array
      readonly used: Float64Array
      /** 1 or 0. */
      readonly running: Uint8Array
      /** NaN: at once. */
      readonly notBefore: Float64Array
    }
  | { readonly kind: 'subscribe'; readonly call: number; readonly sub: number; readonly spec: SubscribeSpec }
  | { readonly kind: 'credit'; readonly sub: number; readonly count: number; readonly bytes: number }
  | { readonly kind: 'flow'; readonly sub: number; readonly paused: boolean }
  | { readonly kind: 'drain'; readonly call: number; readonly sub: number }
  | { readonly kind: 'unsubscribe'; readonly call: number; readonly sub: number }
  | { readonly kind: 'admin'; readonly call: number; readonly request: AdminRequest }
  /** Answer to a ping: the thread that runs the handlers is alive. */
  | { readonly kind: 'pong' }
  | { readonly kind: 'close'; readonly call: number }

/** An error as it crosses the thread boundary. */
export interface ThreadError {
  readonly message: string
  /** SQLite's extended result code; undefined for errors that are not SQLite's. */
  readonly sqlite: number | undefined
  /** Set when Busbar found the problem itself. */
  readonly reason?: 'foreign-file' | 'newer-schema' | 'no-wal' | 'file-gone' | undefined
  readonly stack?: string | undefined
}

export interface SettleFailure {
  readonly index: number
  /** Undefined: the delivery is no longer ours. */
  readonly error: ThreadError | undefined
}

export type Reply =
  | { readonly kind: 'opened' }
  | { readonly kind: 'not-opened'; readonly error: ThreadError }
  | { readonly kind: 'published'; readonly call: number; readonly seqs: Float64Array }
  | { readonly kind: 'settled'; readonly call: number; readonly failures: readonly SettleFailure[] }
  | { readonly kind: 'done'; readonly call: number; readonly value: unknown }
  | { readonly kind: 'failed'; readonly call: number; readonly error: ThreadError }
  | {
      readonly kind: 'deliver'
      readonly sub: number
      /** The tokens of a batch count up from this one. */
      readonly firstToken: number
      readonly batch: StoredColumns
    }
  | { readonly kind: 'lost'; readonly sub: number; readonly tokens: readonly number[]; readonly reason: string }
  | {
      readonly kind: 'loss'
      readonly topic: string
      readonly group: string | undefined
      readonly count: number | undefined
      readonly seq: number | undefined
      readonly reason: string
    }
  | { readonly kind: 'warning'; readonly code: string; readonly detail: string }
  | { readonly kind: 'trouble'; readonly doing: string; readonly error: ThreadError }
  /** What is wrong with the file now; undefined when it is healthy again. */
  | { readonly kind: 'health'; readonly error: ThreadError | undefined }
  | { readonly kind: 'ping' }

export interface WorkerSettings {
  readonly options: ResolvedSqliteOptions
  /** Unique to this transport object: its next thread takes over what the last one held. */
  readonly instance: string
}
