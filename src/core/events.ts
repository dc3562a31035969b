import { outsideHandlers } from './causality.ts'
import { ConfigurationError, StateError } from './errors.ts'
import { logSafely } from './logger.ts'
import type { Logger } from './logger.ts'
import { closest, describe, OptionsReader } from './util/options-reader.ts'
import type { EncodedMessage, Position } from './message.ts'

/** What every event has. */
export interface EventOfTransport {
  /** Name of the transport in this bus: `main` unless it was given in `transports`. */
  readonly transport: string
}

/** What every event of a consumer has. */
export interface EventOfConsumer extends EventOfTransport {
  readonly topic: string
  readonly group: string
  readonly consumerId: string
}

/** What every event of a delivered message has. */
export interface EventOfMessage extends EventOfConsumer {
  readonly message: EncodedMessage
  readonly attempt: number
}

/** Why a message was dead-lettered or dropped. */
export type DeadLetterReason = 'rejected' | 'exhausted' | 'undecodable' | 'invalid' | 'expired' | 'prior-failed'

/**
 * Every event of a bus, with its payload. Payloads are plain data and may be logged, but mind that `message.body` holds the
 * body.
 */
export interface BusEventMap {
  /** A transport has connected for the first time. */
  connect: EventOfTransport
  /** The connection to the broker was lost, or closed on purpose (`planned`). */
  disconnect: EventOfTransport & { readonly planned: boolean; readonly reason: string }
  /** A lost connection is back, after `downMs`. */
  reconnect: EventOfTransport & { readonly downMs: number; readonly attempts: number }
  /** The partitions or members of a group changed. */
  rebalance: EventOfConsumer & { readonly assigned: readonly string[]; readonly revoked: readonly string[] }
  /**
   * The broker can't be reached while the bus starts. The next attempt follows in `delayMs`; the bus gives up in `giveUpInMs`.
   */
  connecting: EventOfTransport & {
    readonly attempt: number
    readonly error: Error
    readonly delayMs: number
    readonly giveUpInMs: number
  }
  /**
   * Messages of one topic were confirmed, `durationMs` after their batch was handed to the transport. `failed` counts messages
   * of the same batch and topic that were not; each also has a `publishFailed` event. Not emitted when no message of the topic
   * was confirmed.
   */
  published: EventOfTransport & {
    readonly topic: string
    readonly count: number
    readonly failed: number
    /** Total size of the confirmed messages. */
    readonly bytes: number
    readonly durationMs: number
  }
  /** A message was not confirmed; its promise rejected with the error. */
  publishFailed: EventOfTransport & { readonly message: EncodedMessage; readonly error: Error }
  /** The publish buffer is full: `publish` waits for room. Emitted once per episode. */
  bufferFull: EventOfTransport & { readonly bufferedBytes: number; readonly maxBufferedBytes: number }
  /** A handler is about to start. */
  delivery: EventOfMessage
  /**
   * A handler succeeded after `handlerMs`, and the broker took the ack, `durationMs` after the handler began. Both are 0 when the
   * listener was added while the handler ran.
   */
  ack: EventOfMessage & { readonly durationMs: number; readonly handlerMs: number }
  /** A handler failed after `handlerMs`, and the message will be retried. */
  retry: EventOfMessage & {
    readonly error: unknown
    readonly delayMs: number
    readonly mode: 'inline' | 'delayed'
    readonly handlerMs: number
  }
  /** A message was stored in its dead-letter topic, confirmed by the broker. */
  deadLetter: EventOfMessage & {
    readonly error: unknown
    readonly reason: DeadLetterReason
    readonly deadLetterTopic: string
  }
  /** A message was discarded because of `deadLetter: 'drop'`. */
  drop: EventOfMessage & { readonly error: unknown; readonly reason: DeadLetterReason }
  /** The broker did not accept a settlement; it delivers the message again. */
  settleFailed: EventOfMessage & { readonly error: Error }
  /** A handler that had been abandoned finished later; its result was ignored. */
  doubleSettle: EventOfMessage
  /** The transport took outstanding deliveries back. */
  lost: EventOfConsumer & { readonly count: number; readonly reason: string }
  /** A handler kept running past its deadline and the grace period (`abandonAfterMs`); its slot was freed. */
  abandoned: EventOfMessage
  /** A cap on a consumer's concurrency was set (0 pauses it) or lifted (undefined); `reason` says what set it. */
  limit: EventOfConsumer & { readonly reason: string; readonly maxConcurrency: number | undefined }
  /** A consumer stopped starting handlers; `reason` says why. */
  pause: EventOfConsumer & { readonly reason: string }
  /** The consumer started taking messages again. */
  resume: EventOfConsumer & { readonly reason: string }
  /**
   * A consumer made no progress for `idleMs` while there is work, can't receive messages, or a partition does not advance while
   * others do; `reason` explains it.
   */
  stalled: EventOfConsumer & {
    readonly idleMs: number
    readonly outstanding: number
    readonly lag: number | undefined
    readonly reason: string
  }
  /** A consumer that was stalled, or had stuck deliveries, makes progress again. */
  recovered: EventOfConsumer
  /**
   * One delivery has not been settled for `ageMs`, although others may be: its handler does not end, its outcome or dead letter
   * can't be stored, or it can't start because the dead letters of its key can't be read (`preparing`, with `park-key`).
   * `queuedBehind` messages of its key wait in this process. Emitted once per delivery.
   */
  stuck: EventOfMessage & {
    readonly ageMs: number
    readonly state: 'preparing' | 'running' | 'dead-lettering' | 'settling'
    readonly queuedBehind: number
  }
  /** Stored messages were removed before this group saw them: by retention, a trimmed stream, or a deleted entry. */
  loss: EventOfTransport & {
    readonly topic: string
    readonly group: string | undefined
    /** Minimum number of lost messages; undefined when unknown. */
    readonly count: number | undefined
    readonly position: Position | undefined
    readonly reason: string
  }
  /** Something is wrong that loses no message now but needs attention. */
  warning: EventOfTransport & { readonly code: string; readonly detail: string }
  /** Something failed outside of any call that could have thrown the error. */
  error: EventOfTransport & { readonly error: unknown; readonly doing: string }
  /**
   * A redrive or purge of dead letters ended. Says how many were sent back to their group, purged, or not confirmed by the
   * broker (`failed`). `complete` is false when it was aborted or failed halfway.
   */
  redrive: EventOfTransport & {
    readonly topic: string
    readonly group: string
    readonly redriven: number
    readonly purged: number
    readonly failed: number
    readonly complete: boolean
  }
}

/** Name of an event of a bus. */
export type BusEventName = keyof BusEventMap

const EVENT_NAMES: Readonly<Record<BusEventName, true>> = {
  connect: true,
  disconnect: true,
  reconnect: true,
  rebalance: true,
  connecting: true,
  published: true,
  publishFailed: true,
  bufferFull: true,
  delivery: true,
  ack: true,
  retry: true,
  deadLetter: true,
  drop: true,
  settleFailed: true,
  doubleSettle: true,
  lost: true,
  abandoned: true,
  limit: true,
  pause: true,
  resume: true,
  stalled: true,
  recovered: true,
  stuck: true,
  loss: true,
  warning: true,
  error: true,
  redrive: true,
}

/** A function that `bus.events.on` calls. */
export type BusEventListener<Name extends BusEventName> = (event: BusEventMap[Name]) => void

/** Typed events of one bus. A listener that throws is logged and affects nothing else. */
export class BusEvents {
  readonly #listeners = new Map<BusEventName, ((event: never) => void)[]>()
  #any: readonly ((name: BusEventName, event: BusEventMap[BusEventName]) => void)[] = []
  readonly #logger: Logger
  readonly #waiting = new Set<() => void>()
  /** @internal `wants` of the events of every message, kept ready: it is read several times for each message. */
  readonly wanted: { delivery: boolean; ack: boolean; retry: boolean } = { delivery: false, ack: false, retry: false }
  #closed = false

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /**
   * Calls `listener` for every event of this name until you call the returned function. Throws `ConfigurationError` for a name
   * that no event has: the listener would wait forever.
   */
  on<Name extends BusEventName>(name: Name, listener: BusEventListener<Name>): () => void {
    checkName('events.on', name)
    checkListener('events.on', listener)
    // Lists are replaced, never changed in place: listeners may come and go while an event is emitted.
    this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), listener])
    this.#noteWanted()
    return () => {
      const rest = (this.#listeners.get(name) ?? []).filter((other) => other !== listener)
      if (rest.length === 0) this.#listeners.delete(name)
      else this.#listeners.set(name, rest)
      this.#noteWanted()
    }
  }

  /** Calls `listener` for every event, with its name, until you call the returned function. */
  onAny(listener: (name: BusEventName, event: BusEventMap[BusEventName]) => void): () => void {
    checkListener('events.onAny', listener)
    this.#any = [...this.#any, listener]
    this.#noteWanted()
    return () => {
      this.#any = this.#any.filter((other) => other !== listener)
      this.#noteWanted()
    }
  }

  #noteWanted(): void {
    for (const name of ['delivery', 'ack', 'retry'] as const) this.wanted[name] = this.wants(name)
  }

  /**
   * Resolves with the next event of this name that passes the filter. Rejects with the signal's reason when it aborts, and with
   * a `StateError` when the bus is closed first. For a time limit, pass `signal: AbortSignal.timeout(5_000)`.
   */
  once<Name extends BusEventName>(
    name: Name,
    options: { readonly filter?: (event: BusEventMap[Name]) => boolean; readonly signal?: AbortSignal } = {},
  ): Promise<BusEventMap[Name]> {
    return new Promise((resolve, reject) => {
      checkName('events.once', name)
      const reader = new OptionsReader('events.once', options, '{ filter, signal }')
      const filter = reader.callable<(event: BusEventMap[Name]) => boolean>('filter')
      const signal = reader.withMethods<AbortSignal>('signal', ['addEventListener'])
      reader.misnamed('timeoutMs', 'signal: AbortSignal.timeout(5_000)')
      reader.done()
      if (signal?.aborted) {
        reject(signal.reason)
        return
      }
      if (this.#closed) {
        reject(noMoreEvents(name))
        return
      }
      const stop = (): void => {
        off()
        this.#waiting.delete(onClose)
        signal?.removeEventListener('abort', onAbort)
      }
      const onAbort = (): void => {
        stop()
        reject(signal?.reason)
      }
      const onClose = (): void => {
        stop()
        reject(noMoreEvents(name))
      }
      const off = this.on(name, (event) => {
        if (filter !== undefined && !filter(event)) return
        stop()
        resolve(event)
      })
      this.#waiting.add(onClose)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** @internal Rejects every pending `once`, because a closed bus emits no more events. */
  close(): void {
    this.#closed = true
    for (const end of this.#waiting) end()
  }

  /** True when there is a listener: the hot path builds an event only then. */
  wants(name: BusEventName): boolean {
    return this.#any.length > 0 || this.#listeners.has(name)
  }

  /** Calls the listeners of this event, for the bus and its transports. Never throws. */
  emit<Name extends BusEventName>(name: Name, event: BusEventMap[Name]): void {
    const listeners = this.#listeners.get(name) as BusEventListener<Name>[] | undefined
    if (listeners !== undefined) for (const listener of listeners) this.#tell(name, () => listener(event))
    if (this.#any.length > 0) for (const listener of this.#any) this.#tell(name, () => listener(name, event))
  }

  #tell(name: BusEventName, call: () => void): void {
    try {
      // An async listener is a mistake that types can't catch; its rejection must not end the process. What a listener
      // publishes must not continue the conversation of a message whose handler happens to run here.
      const result: unknown = outsideHandlers(call)
      if (result instanceof Promise) result.catch((error: unknown) => this.#blame(name, error))
    } catch (error) {
      this.#blame(name, error)
    }
  }

  #blame(name: BusEventName, error: unknown): void {
    logSafely(this.#logger, { err: error, event: name }, 'a listener of bus.events threw')
  }
}

function checkName(subject: string, name: string): void {
  if (Object.hasOwn(EVENT_NAMES, name)) return
  const names = Object.keys(EVENT_NAMES)
  const guess = closest(name, names)
  const remedy = guess === undefined ? `; there are: ${names.join(', ')}` : `; did you mean "${guess}"?`
  throw new ConfigurationError(subject, [{ path: 'name', message: `there is no event "${name}"${remedy}` }])
}

function checkListener(subject: string, listener: unknown): void {
  if (typeof listener === 'function') return
  throw new ConfigurationError(subject, [
    { path: 'listener', message: `must be a function, got ${describe(listener)}` },
  ])
}

function noMoreEvents(name: BusEventName): StateError {
  return new StateError(`The bus was closed: no event "${name}" will come any more`)
}
