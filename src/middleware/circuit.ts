import type { Clock } from '../core/clock.ts'
import type { ConsumerControl } from '../core/handler.ts'
import { failureWindow } from './failure-window.ts'
import type { FailureLimit, FailureWindow } from './failure-window.ts'
import { setQuietTimer } from './quiet-timer.ts'

/** `closed`: all is well. `open`: intake is paused. `half-open`: a single message is let through to see. */
export type CircuitState = 'closed' | 'open' | 'half-open'

/** How one call ended, as far as it says anything about what the circuit guards. */
export type CallResult = 'success' | 'failure' | 'neutral'

export interface CircuitSettings {
  /** Under which the consumers' concurrency is limited. */
  readonly reason: string
  readonly limit: FailureLimit
  readonly resetTimeoutMs: number
  readonly permits: number
  readonly changed: (to: CircuitState, from: CircuitState) => void
}

/** A consumer that a circuit steers. */
export class CircuitMember {
  readonly control: ConsumerControl
  /** Calls that the circuit let through and that have not ended. */
  running = 0
  /** The cap that was set last, so that only changes are told. */
  cap: number | undefined = undefined

  constructor(control: ConsumerControl) {
    this.control = control
  }
}

const MAX_PUT_OFF_MS = 1_000

/**
 * The states of a circuit breaker, and the caps that they put on its consumers. Every change of state starts a new
 * generation; the end of a call that was let through in an older one is of no consequence: a slow failure from before must
 * not open a circuit that has recovered, nor a slow success close one that is open.
 */
export class Circuit {
  readonly #settings: CircuitSettings
  readonly #window: FailureWindow
  // Weak: a breaker may outlive consumers that come and go. The consumer's own middleware holds its member.
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

  /** Lets a call through and returns its generation, or undefined when it must be put off. */
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

  /** How long a call that was not let through is to be put off, in ms. */
  putOffMs(clock: Clock): number {
    // How long a probe takes nobody knows, and intake is capped meanwhile: the few that were on their way look in again.
    if (this.#state === 'half-open') return Math.min(this.#settings.resetTimeoutMs, MAX_PUT_OFF_MS)
    return Math.max(1, Math.ceil(this.#probeAt - clock.monotonic()))
  }

  /** Says how a call of that generation ended. Once for each call that was let through. */
  leave(member: CircuitMember, generation: number, result: CallResult, clock: Clock): void {
    member.running--
    if (generation !== this.#generation) {
      // The cap of a half-open circuit stands above the calls that run anyway, of which there is one less now.
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
    // Told before intake changes: lifting a cap may start handlers at once, whose end may change the state again.
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
    // Read afresh for each member: setting the cap of one may have started the probe that uses up the permits.
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
