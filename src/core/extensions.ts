import type { Bus, BusExtension } from './bus-types.ts'
import type { Clock } from './clock.ts'
import { CloseDeadline } from './util/close-deadline.ts'
import { describeError } from './util/describe-error.ts'
import { BusbarError, ConfigurationError, ExtensionError, StateError, TimeoutError } from './errors.ts'
import type { Logger } from './logger.ts'
import { extensionProblems, UsedExtension } from './used-extension.ts'

/** How long an extension may take to start even when the brokers have used up the time of `start()`. */
const MIN_START_MS = 10_000
/** How long the extensions may take to close, together, when the time of `close()` is up. */
const MIN_CLOSE_MS = 1_000

export interface ExtensionsParts {
  readonly clock: Clock
  readonly logger: Logger
  readonly startTimeoutMs: number
  readonly closeTimeoutMs: number
  /** Aborts when the bus starts to close, which then drains and closes all extensions. */
  readonly closing: AbortSignal
}

/**
 * The extensions of a bus, in order of use. Whatever happens, an extension whose `start` was called is drained and closed
 * once, also when its start failed or has not ended: its `close` is the one place that cleans up.
 */
export class Extensions implements Iterable<UsedExtension> {
  readonly #bus: Bus
  readonly #parts: ExtensionsParts
  readonly #list: UsedExtension[] = []
  #started = false

  constructor(bus: Bus, parts: ExtensionsParts) {
    this.#bus = bus
    this.#parts = parts
  }

  /** True when those that the bus starts with have started: from then on, consumers subscribe and extensions start at once. */
  get started(): boolean {
    return this.#started
  }

  [Symbol.iterator](): Iterator<UsedExtension> {
    return this.#list.values()
  }

  add(extension: BusExtension): UsedExtension {
    const problems = extensionProblems(extension, new Set(this.#list.map(({ name }) => name)))
    if (problems.length > 0) throw new ConfigurationError('bus.use', problems)
    extension.attach?.(this.#bus)
    const used = new UsedExtension(this.#bus, extension)
    this.#list.push(used)
    return used
  }

  /** Adds an extension. Starts it when the others have started; a failure then removes it again. */
  async use(extension: BusExtension): Promise<void> {
    const used = this.add(extension)
    if (!this.#started) return
    const { clock, closing, startTimeoutMs } = this.#parts
    try {
      await this.#startOne(used, clock.monotonic() + startTimeoutMs)
    } catch (error) {
      await this.#undo([used])
      if (!closing.aborted) this.#list.splice(this.#list.indexOf(used), 1)
      throw error
    }
  }

  /** Starts one after the other, those that are added meanwhile too. When one fails, undoes what was done. */
  async start(endsAt: number): Promise<void> {
    try {
      for (const used of this.#list) await this.#startOne(used, endsAt)
      this.#started = true
    } catch (error) {
      await this.#undo(this.#list)
      throw error
    }
  }

  async #startOne(used: UsedExtension, endsAt: number): Promise<void> {
    const { clock, closing } = this.#parts
    const { name } = used
    const timeoutMs = Math.max(MIN_START_MS, endsAt - clock.monotonic())
    const limit = Promise.withResolvers<never>()
    const abort = (): void => limit.reject(new StateError(`The bus was closed before extension "${name}" had started`))
    if (closing.aborted) abort()
    else closing.addEventListener('abort', abort, { once: true })
    const timer = clock.setTimer(timeoutMs, () =>
      limit.reject(new TimeoutError(`it has not started within ${Math.round(timeoutMs)} ms`)),
    )
    try {
      await (closing.aborted ? limit.promise : this.#within(limit.promise, used, 'start', used.start()))
      used.state = 'started'
    } catch (error) {
      throw closing.aborted ? error : failed(name, 'start', error)
    } finally {
      timer.cancel()
      closing.removeEventListener('abort', abort)
    }
  }

  /** Drains and closes these, and forgets that they were started. When the bus is being closed, that does it instead. */
  async #undo(list: readonly UsedExtension[]): Promise<void> {
    const { clock, closing, closeTimeoutMs, logger } = this.#parts
    if (closing.aborted) return
    const deadline = new CloseDeadline(clock, closeTimeoutMs)
    const aborted = Promise.withResolvers<void>()
    const abort = (): void => aborted.resolve()
    closing.addEventListener('abort', abort, { once: true })
    const stop = async (): Promise<void> => {
      const drained = await Promise.allSettled(this.#drain(list, deadline))
      const errors = drained.filter((result) => result.status === 'rejected').map(({ reason }) => reason as unknown)
      for (const error of [...errors, ...(await this.#close(list, deadline))])
        logger.error({ err: describeError(error) }, 'closing an extension after a failed start failed too')
    }
    await Promise.race([stop(), aborted.promise])
    deadline.cancel()
    closing.removeEventListener('abort', abort)
    if (!closing.aborted) for (const used of list) used.reset()
  }

  /** Drains all in this turn of the event loop. Each promise settles at the deadline at the latest. */
  drain(deadline: CloseDeadline): Promise<void>[] {
    return this.#drain(this.#list, deadline)
  }

  #drain(list: readonly UsedExtension[], deadline: CloseDeadline): Promise<void>[] {
    return list
      .filter((used) => used.isActive)
      .map(async (used) => {
        const late = deadline.reached.then(() => {
          throw LATE
        })
        try {
          await this.#within(late, used, 'drain', used.drain())
        } catch (error) {
          // Like a handler that runs too long, it is cut short: that is no failure of the close.
          if (error !== LATE) throw failed(used.name, 'drain', error)
          this.#parts.logger.warn({ extension: used.name }, 'an extension had not drained when the time was up')
        }
      })
  }

  /** Closes one after the other, the last first. Resolves with what failed. */
  close(deadline: CloseDeadline): Promise<unknown[]> {
    return this.#close(this.#list, deadline)
  }

  async #close(list: readonly UsedExtension[], deadline: CloseDeadline): Promise<unknown[]> {
    const { clock } = this.#parts
    const errors: unknown[] = []
    /** What is left of the time beyond the deadline. One that hangs uses up its share of it, and not that of the others. */
    let spareMs = MIN_CLOSE_MS
    let left = list.filter(({ isActive }) => isActive).length
    for (const used of list.toReversed()) {
      const startedAt = clock.monotonic()
      try {
        if (used.isActive) await this.#closeOne(used, deadline, spareMs / left--)
      } catch (error) {
        errors.push(failed(used.name, 'close', error))
      }
      spareMs -= Math.max(0, Math.min(clock.monotonic() - startedAt, -deadline.leftMs))
      used.state = 'stopped'
    }
    return errors
  }

  /** `leastMs`: how long it may take when the time is up. */
  async #closeOne(used: UsedExtension, deadline: CloseDeadline, leastMs: number): Promise<void> {
    const deadlineMs = Math.max(leastMs, deadline.leftMs)
    const least = Promise.withResolvers<void>()
    const timer = this.#parts.clock.setTimer(leastMs, least.resolve)
    const late = Promise.all([least.promise, deadline.reached]).then(() => {
      throw new TimeoutError('it has not closed in time')
    })
    try {
      await this.#within(late, used, 'close', used.close({ deadlineMs }))
    } finally {
      timer.cancel()
    }
  }

  /** Waits for a call until `limit` rejects. An error that comes later is logged. */
  async #within(limit: Promise<never>, used: UsedExtension, method: string, call: Promise<void>): Promise<void> {
    let isLate = false
    call.catch((error: unknown) => {
      if (!isLate) return
      const { logger } = this.#parts
      logger.error({ err: describeError(error), extension: used.name, method }, 'an extension failed too late')
    })
    try {
      await Promise.race([call, limit])
    } catch (error) {
      isLate = true
      throw error
    }
  }
}

const LATE = Symbol('late')

function failed(name: string, method: string, cause: unknown): ExtensionError {
  return new ExtensionError(`Extension "${name}" failed to ${method}: ${describeError(cause).message}`, {
    extension: name,
    cause,
    retryable: BusbarError.is(cause) && cause.retryable,
  })
}
