import { StateError } from '../errors.ts'

/**
 * What a transport has while it is open, an `Open`. Refuses a second bus, and use before it is open or after it was closed; when
 * opening fails, it may be opened again.
 */
export class OpenedOnce<Open> {
  readonly #name: string
  readonly #remedy: string
  #given: Open | undefined
  #isOpen = false
  #isClosed = false

  /** `name` as in "The Redis transport is closed"; `remedy`: what to do for a second bus. */
  constructor(name: string, remedy = 'make another one') {
    this.#name = name
    this.#remedy = remedy
  }

  /** What is open or being opened, and stays when it is closed. */
  get given(): Open | undefined {
    return this.#given
  }

  /** True from the end of `open` until `close`. */
  get isOpen(): boolean {
    return this.#isOpen && !this.#isClosed
  }

  /** Throws `StateError` unless it is open. */
  get(): Open {
    if (this.isOpen) return this.#given as Open
    throw new StateError(`The ${this.#name} transport is ${this.#isClosed ? 'closed' : 'not open'}`)
  }

  /**
   * Resolves with what is open: report `connect` then, so that listeners find it open. `open` must leave nothing behind when it
   * rejects. Rejects with `StateError` for a second bus, and after `close`.
   */
  async open(make: () => Open, open: (given: Open) => Promise<unknown>): Promise<Open> {
    if (this.#isClosed) throw new StateError(`The ${this.#name} transport is closed: ${this.#remedy}`)
    if (this.#given !== undefined) throw new StateError(`A ${this.#name} transport belongs to one bus: ${this.#remedy}`)
    const given = make()
    this.#given = given
    try {
      await open(given)
      this.#isOpen = true
      return given
    } catch (error) {
      this.#given = undefined
      throw error
    }
  }

  /** Returns what must be closed: undefined when nothing was opened, or when this was called before. */
  close(): Open | undefined {
    if (this.#isClosed) return undefined
    this.#isClosed = true
    return this.#given
  }
}
