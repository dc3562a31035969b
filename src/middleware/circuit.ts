import type { Clock } from '../core/clock.ts'
import type { ConsumerControl } from '../core/handler.ts'
import { failureWindow } from './failure-window.ts'
import type { FailureLimit, FailureWindow } from './failure-window.ts'
import { setQuietTimer } from './quiet-timer.ts'

/** `closed`: messages flow. `open`: intake is paused. `half-open`: a few trial messages are let through. */
export type CircuitState = 'closed' | 'open' | 'half-open'

/** What one call says about the guarded dependency. */
export type CallResult = 'success' | 'failure' | 'neutral'

export interface CircuitSettings {
  /** Reason given when it limits the consumers' concurrency. */
  readonly reason: string
  readonly limit: FailureLimit
  readonly resetTimeoutMs: number
  readonly permits: number
  readonly changed: (to: CircuitState, from: CircuitState) => void
}

/** A consumer that the circuit controls. */
export class CircuitMember {
  readonly control: ConsumerControl
  /** Calls that the circuit let through and that are still running. */
  running = 0
  /** The last cap that was set, so that only changes are reported. */
  cap: number | undefined = undefined

  constructor(control: ConsumerControl) {
    this.control = control
  }
}

const MAX_PUT_OFF_MS = 1_000

/**
 * The states of a circuit breaker, and the caps they put on its consumers. Every change of state starts a new generation, and
 * calls of an older generation are ignored: a slow failure must not open a circuit that has recovered, nor a slow success close
 * an open one.
 */
export class Circuit {
  readonly #settings: CircuitSettings
  readonly #window: FailureWindow
  // Weak, because a breaker may outlive its consumers. The consumer's middleware holds the member.
  readonly #members = new Set<WeakRef<CircuitMember>>()
  #state: CircuitState = 'closed'
  #generation = 0
  /** Calls that may still be let through while half-open. */
  #permits = 0
  #probeAt = 0

  constructor(settings: CircuitSettings) {
    this.#settings = settings
    this.#window = failureWindow(settings.limit)
  }

  get state(): CircuitState {
    return this.#state
  }

  join(control: ConsumerControl): CircuitMember {
    const member = new CircuitMember(control)
    this.#members.add(new WeakRef(member))
    this.#cap(member)
    return member
  }

  /** Lets a call through and returns its generation, or returns undefined when the call must be delayed. */
  enter(member: CircuitMember): number | undefined {
    if (this.#state !== 'closed') {
      if (this.#permits === 0) return undefined
      this.#permits--
      member.running++
      this.#capAll()
      return this.#generation
    }
    member.running++
    return this.#generation
  }

  /** How long to delay a call that was not let through, in ms. */
  putOffMs(clock: Clock): number {
    // A trial call may take any time. Intake is capped meanwhile, so only the few messages on their way ask again.
    if (this.#state === 'half-open') return Math.min(this.#settings.resetTimeoutMs, MAX_PUT_OFF_MS)
    return Math.max(1, Math.ceil(this.#probeAt - clock.monotonic()))
  }

  /** Reports how a call of this generation ended. Called once for each call that was let through. */
  leave(member: CircuitMember, generation: number, result: CallResult, clock: Clock): void {
    member.running--
    if (generation !== this.#generation) {
      // The cap of a half-open circuit includes the running calls, and there is one fewer now.
      if (this.#state === 'half-open') this.#cap(member)
      return
    }
    if (this.#state === 'closed') {
      if (result === 'success') this.#window.success(clock.monotonic())
      else if (result === 'failure' && this.#window.failure(clock.monotonic())) this.#open(clock)
      return
    }
    if (result === 'success') this.#change('closed')
    else if (result === 'failure') this.#open(clock)
    else {
      this.#permits++
      this.#capAll()
    }
  }

  #open(clock: Clock): void {
    const { resetTimeoutMs, permits } = this.#settings
    this.#probeAt = clock.monotonic() + resetTimeoutMs
    setQuietTimer(clock, resetTimeoutMs, () => this.#change('half-open', permits))
    this.#change('open')
  }

  #change(to: CircuitState, permits = 0): void {
    const from = this.#state
    this.#state = to
    this.#generation++
    this.#permits = permits
    if (to === 'closed') this.#window.clear()
    // Report before intake changes: lifting a cap may start handlers at once, and their end may change the state again.
    this.#settings.changed(to, from)
    this.#capAll()
  }

  #capAll(): void {
    for (const reference of this.#members) {
      const member = reference.deref()
      if (member === undefined) this.#members.delete(reference)
      else this.#cap(member)
    }
  }

  #cap(member: CircuitMember): void {
    // Computed for each member: setting one member's cap may have started the trial call that uses up the permits.
    const cap = this.#capOf(member)
    if (cap === member.cap) return
    member.cap = cap
    member.control.limit(this.#settings.reason, cap)
  }

  #capOf(member: CircuitMember): number | undefined {
    if (this.#state === 'closed') return undefined
    return this.#permits === 0 ? 0 : member.running + this.#permits
  }
}
