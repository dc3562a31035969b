/** Runs something once, however often that is asked for in a turn: after everything else that happens in it. */
export class OncePerTurn {
  readonly #run: () => void
  #isScheduled = false

  constructor(run: () => void) {
    this.#run = () => {
      this.#isScheduled = false
      run()
    }
  }

  schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    queueMicrotask(this.#run)
  }
}
