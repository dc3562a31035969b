import { REMEMBERS } from '../core/handler.ts'
import type { Handler, HandlerContext, Middleware } from '../core/handler.ts'
import type { Message } from '../core/message.ts'
import { OptionsReader } from '../core/util/options-reader.ts'
import { isPromiseLike } from '../core/util/is-promise-like.ts'
import { notify } from '../core/util/notify.ts'
import { Lease, Leases } from './leases.ts'
import { MAX_QUIET_DELAY_MS } from './quiet-timer.ts'
import type { DedupeClaim, DedupeStore } from './store.ts'

/** Options of `dedupe`. */
export interface DedupeOptions {
  /** Where handled messages are remembered: `memoryDedupeStore()`, or a store that all processes share. Required. */
  readonly store: DedupeStore
  /** How long a handled message is remembered, in ms. Default 86,400,000 (a day). */
  readonly ttlMs?: number | undefined
  /**
   * How long a claim lasts without renewal, in ms. Claims are renewed while the handler runs, so this is how long a message
   * waits after its process died. Default 30,000.
   */
  readonly leaseMs?: number | undefined
  /**
   * Returns a key; messages with the same key are duplicates for this consumer. Different consumers never share a key. Default:
   * topic, source and id.
   */
  readonly key?: ((message: Message) => string) | undefined
  /** Called when a message was skipped (and acked) because it had been handled before. */
  readonly onDuplicate?: ((message: Message, key: string) => void) | undefined
  /**
   * Called when something went wrong with a claim. The message does not fail, but a duplicate may be handled, or the message
   * may wait. Default: a process warning (`BUSBAR_DEDUPE`) for the first of each code.
   */
  readonly onWarning?: ((warning: DedupeWarning) => void) | undefined
}

/** What `onWarning` is called with. */
export interface DedupeWarning {
  /**
   * - `not-claimed`: the store could not be reached; the message is delayed and uses no attempt.
   * - `lease-lost`: the lease ended while the handler ran; another attempt may have run at the same time.
   * - `not-remembered`: the handler succeeded, but the store could not record it; a redelivery would be handled again.
   * - `not-renewed`: the store could not renew the lease; the renewal is retried as long as the handler runs.
   * - `not-released`: after a failure the store could not free the claim; the next attempt waits until the lease ends.
   */
  readonly code: 'not-claimed' | 'lease-lost' | 'not-remembered' | 'not-renewed' | 'not-released'
  readonly key: string
  readonly messageId: string
  /** What the store threw. */
  readonly error?: unknown
}

const DEDUPE_DEFAULTS = { ttlMs: 86_400_000, leaseMs: 30_000 } as const

interface ResolvedDedupe {
  readonly store: DedupeStore
  readonly ttlMs: number
  readonly leaseMs: number
  readonly key: (message: Message) => string
  readonly onDuplicate: ((message: Message, key: string) => void) | undefined
  readonly onWarning: (warning: DedupeWarning) => void
}

/** Bounds of the delay before a message that is in progress elsewhere is tried again, whatever the store says. */
const PUT_OFF = { minMs: 50, maxMs: 5_000 } as const
const STORE_DOWN_MS = 1_000

function resolve(options: DedupeOptions): ResolvedDedupe {
  const reader = new OptionsReader('dedupe()', options, 'dedupe({ store })')
  if (!reader.has('store')) reader.problem('store', 'is required: memoryDedupeStore(), or another DedupeStore')
  const store = reader.withMethods<DedupeStore>('store', ['claim', 'renew', 'complete', 'release'])
  const rest = {
    ttlMs: reader.integer('ttlMs', DEDUPE_DEFAULTS.ttlMs, { min: 1 }),
    leaseMs: reader.integer('leaseMs', DEDUPE_DEFAULTS.leaseMs, { min: 10, max: MAX_QUIET_DELAY_MS }),
    key: reader.callable<(message: Message) => string>('key') ?? identityOf,
    onDuplicate: reader.callable<(message: Message, key: string) => void>('onDuplicate'),
    onWarning: reader.callable<(warning: DedupeWarning) => void>('onWarning') ?? processWarnings(),
  }
  reader.done()
  // done() throws when it is missing.
  return Object.freeze({ store: store as DedupeStore, ...rest })
}

/**
 * Handles each message once per consumer, as long as the store remembers it. Messages already handled are skipped and acked;
 * messages being handled elsewhere are delayed with `ctx.retry({ countAttempt: false })`; failed messages are free for their
 * next attempt.
 *
 * It can't make a handler run exactly once: a process that dies after the handler's work but before the store records it leads
 * to a second run, and so does a handler that outlives its lease (for example because it blocked the event loop). Work that
 * must not happen twice belongs in one transaction with the record of it.
 *
 * - The claim is a lease with a token. It is renewed while the handler runs, but not past the handler's deadline.
 * - A failed message is forgotten, so that a redrive of its dead letter is handled.
 * - When the store can't be reached, messages are delayed and use no attempt.
 * - Use it once per consumer: a second one with the same store would wait for the first forever.
 *
 *     bus.consume(OrderPlaced, charge, { middleware: [dedupe({ store: memoryDedupeStore() })] })
 *
 * Throws `ConfigurationError` for invalid options.
 */
export function dedupe(options: DedupeOptions): Middleware {
  const settings = resolve(options)
  const middleware: Middleware = (next) => {
    const deduper = new Deduper(settings, next)
    return (message, ctx) => deduper.handle(message, ctx)
  }
  return Object.assign(middleware, { [REMEMBERS]: true })
}

class Deduper {
  readonly #settings: ResolvedDedupe
  readonly #next: Handler
  readonly #leases: Leases

  constructor(settings: ResolvedDedupe, next: Handler) {
    this.#settings = settings
    this.#next = next
    this.#leases = new Leases(settings.leaseMs, (lease) => this.#renew(lease))
  }

  async handle(message: Message, ctx: HandlerContext): Promise<unknown> {
    const { topic, group } = ctx.consumer
    const key = `${group} ${topic} ${this.#settings.key(message)}`
    const answer = this.#claim(key, message, ctx)
    const claim = isPromiseLike(answer) ? await answer : answer
    if (claim.status === 'done') {
      const { onDuplicate } = this.#settings
      if (onDuplicate !== undefined) notify('onDuplicate of dedupe()', () => onDuplicate(message, key))
      return undefined
    }
    if (claim.status === 'in-progress') {
      const delayMs = Math.min(Math.max(Math.ceil(claim.retryAfterMs), PUT_OFF.minMs), PUT_OFF.maxMs)
      return ctx.retry({ delayMs, countAttempt: false })
    }
    const lease = new Lease(key, claim.token, message.id, ctx)
    this.#leases.add(lease)
    let result: unknown
    try {
      // The deadline may have passed while the store answered; then the attempt is over.
      if (claim !== answer) ctx.signal.throwIfAborted()
      result = await this.#next(message, ctx)
    } catch (error) {
      await this.#release(lease)
      throw error
    }
    await this.#complete(lease)
    return result
  }

  #claim(key: string, message: Message, ctx: HandlerContext): DedupeClaim | PromiseLike<DedupeClaim> {
    const putOff = (error: unknown): never => {
      this.#warn('not-claimed', key, message.id, error)
      return ctx.retry({ delayMs: STORE_DOWN_MS, countAttempt: false, cause: error })
    }
    try {
      const answer = this.#settings.store.claim(key, this.#settings.leaseMs)
      return isPromiseLike(answer) ? answer.then(undefined, putOff) : answer
    } catch (error) {
      return putOff(error)
    }
  }

  async #renew(lease: Lease): Promise<boolean> {
    const { store, leaseMs } = this.#settings
    let ours: boolean
    try {
      ours = await store.renew(lease.key, lease.token, leaseMs)
    } catch (error) {
      if (this.#leases.holds(lease)) this.#warn('not-renewed', lease.key, lease.messageId, error)
      return true
    }
    // A lease that was settled meanwhile is not lost, just no longer needed.
    if (!ours && this.#leases.holds(lease)) this.#lost(lease)
    return ours
  }

  /** The handler has succeeded, so a failure of the store must not make it run again. */
  async #complete(lease: Lease): Promise<void> {
    const { store, ttlMs } = this.#settings
    this.#leases.remove(lease)
    try {
      if (!(await store.complete(lease.key, lease.token, ttlMs))) this.#lost(lease)
    } catch (error) {
      this.#warn('not-remembered', lease.key, lease.messageId, error)
    }
  }

  /** An error of the store must not replace the handler's error. */
  async #release(lease: Lease): Promise<void> {
    this.#leases.remove(lease)
    try {
      await this.#settings.store.release(lease.key, lease.token)
    } catch (error) {
      this.#warn('not-released', lease.key, lease.messageId, error)
    }
  }

  #lost(lease: Lease): void {
    if (lease.lost) return
    lease.lost = true
    this.#warn('lease-lost', lease.key, lease.messageId)
  }

  #warn(code: DedupeWarning['code'], key: string, messageId: string, error?: unknown): void {
    const { onWarning } = this.#settings
    const warning = { code, key, messageId, ...(error === undefined ? {} : { error }) }
    notify('onWarning of dedupe()', () => onWarning(warning))
  }
}

/** CloudEvents ids are unique only within a source, and a publisher may use the same id on two topics. */
function identityOf(message: Message): string {
  // Spaces separate the fields; a source is a URI, where a space is written as %20 anyway.
  return `${message.topic} ${message.source.replaceAll(' ', '%20')} ${message.id}`
}

/** Prints the first warning of each code only: a store that is down would flood stderr. */
function processWarnings(): (warning: DedupeWarning) => void {
  const told = new Set<string>()
  return ({ code, key, error }) => {
    if (told.has(code)) return
    told.add(code)
    const detail = error instanceof Error ? (error.stack ?? error.message) : undefined
    process.emitWarning(`dedupe(): ${code} for ${key}; give onWarning to hear of each`, {
      code: 'BUSBAR_DEDUPE',
      ...(detail === undefined ? {} : { detail }),
    })
  }
}
