import type { Handler, HandlerContext, Middleware } from '../core/handler.ts'
import type { Message } from '../core/message.ts'
import { OptionsReader } from '../core/options.ts'
import { Lease, Leases } from './leases.ts'
import { notify } from './notify.ts'
import { isPromiseLike } from './observe.ts'
import { MAX_QUIET_DELAY_MS } from './quiet-timer.ts'
import type { DedupeClaim, DedupeStore } from './store.ts'

export interface DedupeOptions {
  /** Where handled messages are remembered: `memoryDedupeStore()`, or one that all processes share. Required. */
  readonly store: DedupeStore
  /** How long a handled message is remembered, in ms. Default 86,400,000 (a day). */
  readonly ttlMs?: number | undefined
  /**
   * How long a claim lasts without renewal, in ms. It is renewed while the handler runs, so this is how long a message waits
   * whose process died. Default 30,000.
   */
  readonly leaseMs?: number | undefined
  /**
   * What makes two messages the same for this consumer. Default: their topic, source and id. Two consumers never share a
   * key, whatever it returns.
   */
  readonly key?: ((message: Message) => string) | undefined
  /** A message was skipped (and acked) because it had been handled before. */
  readonly onDuplicate?: ((message: Message, key: string) => void) | undefined
  /**
   * Something went wrong with a claim. It does not fail the message, but may let a duplicate through or keep it waiting.
   * Default: a process warning (`BUSBAR_DEDUPE`) for the first one of each code.
   */
  readonly onWarning?: ((warning: DedupeWarning) => void) | undefined
}

export interface DedupeWarning {
  /**
   * - `not-claimed`: the store could not be asked; the message is put off and loses no attempt.
   * - `lease-lost`: the lease ended while the handler ran; another attempt may have run at the same time.
   * - `not-remembered`: the handler succeeded, but the store could not note it; a redelivery would be handled again.
   * - `not-renewed`: the store could not renew the lease; it is tried again as long as the handler runs.
   * - `not-released`: after a failure the store could not free the claim; the next attempt waits until the lease ends.
   */
  readonly code: 'not-claimed' | 'lease-lost' | 'not-remembered' | 'not-renewed' | 'not-released'
  readonly key: string
  readonly messageId: string
  /** What the store threw. */
  readonly error?: unknown
}

export const DEDUPE_DEFAULTS = { ttlMs: 86_400_000, leaseMs: 30_000 } as const

interface ResolvedDedupe {
  readonly store: DedupeStore
  readonly ttlMs: number
  readonly leaseMs: number
  readonly key: (message: Message) => string
  readonly onDuplicate: ((message: Message, key: string) => void) | undefined
  readonly onWarning: (warning: DedupeWarning) => void
}

/** How soon a message is looked at again that is in progress elsewhere, whatever the store says. */
const PUT_OFF = { minMs: 50, maxMs: 5_000 } as const
const STORE_DOWN_MS = 1_000

function resolve(options: DedupeOptions): ResolvedDedupe {
  const reader = new OptionsReader('dedupe()', options)
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
  // done() has thrown unless there is one.
  return Object.freeze({ store: store as DedupeStore, ...rest })
}

/**
 * Handles each message once per consumer, as long as the store remembers it: what was handled is skipped and acked, what is
 * being handled elsewhere is put off with `ctx.retry({ countAttempt: false })`, what failed is free for its next attempt.
 *
 * It can't make a handler run exactly once: a process that dies after the handler's work and before the note of it in the
 * store leads to a second run, and so does a handler that outlives its lease (say, because it blocked the event loop). Work
 * that must not happen twice belongs into one transaction with its note.
 *
 * - The claim is a lease with a token, renewed while the handler runs and no longer than until its deadline.
 * - A message that failed for good is forgotten, so that a redrive of its dead letter is handled.
 * - When the store can't be reached, messages are put off and lose no attempt.
 * - Use it once in the chain of a consumer: a second one with the same store would wait for the first for ever.
 *
 *     bus.consume(OrderPlaced, charge, { middleware: [dedupe({ store: memoryDedupeStore() })] })
 *
 * Throws `ConfigurationError`.
 */
export function dedupe(options: DedupeOptions): Middleware {
  const settings = resolve(options)
  return (next) => {
    const deduper = new Deduper(settings, next)
    return (message, ctx) => deduper.handle(message, ctx)
  }
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
      // The deadline may have passed while the store was asked; what follows would be nobody's attempt.
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
    // A lease that was settled meanwhile is not lost: it is not needed any more.
    if (!ours && this.#leases.holds(lease)) this.#lost(lease)
    return ours
  }

  /** The handler has succeeded, and nothing that the store does now may make it run again at once. */
  async #complete(lease: Lease): Promise<void> {
    const { store, ttlMs } = this.#settings
    this.#leases.remove(lease)
    try {
      if (!(await store.complete(lease.key, lease.token, ttlMs))) this.#lost(lease)
    } catch (error) {
      this.#warn('not-remembered', lease.key, lease.messageId, error)
    }
  }

  /** The handler's own error is what counts: one of the store must not take its place. */
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

/** CloudEvents asks for unique ids within a source only, and nothing keeps a publisher from using one on two topics. */
function identityOf(message: Message): string {
  // A space parts the fields; in a source, which is a URI, it is written as %20 anyway.
  return `${message.topic} ${message.source.replaceAll(' ', '%20')} ${message.id}`
}

/** The first warning of each kind: a store that is down would flood stderr. */
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
