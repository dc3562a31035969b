import type { Clock, Timer } from '../../core/clock.ts'
import type { Item } from './item.ts'
import type { Root } from './root.ts'

/** An iterator of a stage is pulled while no more items than `MANY_OPEN` of its message are open, and again from `FEW_OPEN` down. */
export const MANY_OPEN = 256
const FEW_OPEN = 128

/** A place in the running pipeline that takes items. */
export interface Stage {
  readonly name: string
  push(item: Item): void
}

/** Something that holds items back until there are more. */
export interface Holder {
  /** When its oldest batch was opened, as counted by `Engine.tick`; undefined when it holds nothing. */
  readonly oldest: number | undefined
  /** Lets the oldest go. */
  flushOldest(trigger: 'pressure' | 'drain'): void
}

/** Where messages come from, as far as the engine must know. */
export interface Intake {
  /** It has more, and must not give it before something of its own has ended. */
  readonly isFull: boolean
  /** It will never give anything again. */
  readonly isOver: boolean
  take(): void
}

/** What all stages of one running pipeline share. */
export class Engine {
  readonly holders: Holder[] = []
  readonly intakes: Intake[] = []
  /** Promises of user code and retries that will go on by themselves. */
  pending = 0
  isDraining = false
  readonly #clock: Clock
  readonly #timers = new Set<Timer>()
  #ticks = 0
  #depth = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Counts up: tells which of two things is older. */
  tick(): number {
    return ++this.#ticks
  }

  /**
   * Runs what moves items. When all that follows from it at once has happened, looks whether everything waits for batches to be
   * filled, and then lets the oldest go.
   */
  run(work: () => void): void {
    this.enter()
    try {
      work()
    } finally {
      this.leave()
    }
  }

  /** `run`, for those that can't afford a function. */
  enter(): void {
    this.#depth++
  }

  leave(): void {
    if (this.#depth === 1) this.#relieve()
    this.#depth--
  }

  /** Calls `fire` as `run` does, unless the returned function or the engine ends the timer before. */
  after(delayMs: number, fire: () => void): () => void {
    const end = (): void => {
      timer.cancel()
      this.#timers.delete(timer)
    }
    const timer = this.#clock.setTimer(delayMs, () => {
      this.#timers.delete(timer)
      this.run(fire)
    })
    this.#timers.add(timer)
    return end
  }

  /** Nothing happens by itself any more. */
  close(): void {
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
  }

  drain(): void {
    this.isDraining = true
    this.run(() => {})
  }

  /** The item has done what it is for, or is not needed. */
  end(item: Item): void {
    for (let { region } = item; region !== undefined; region = region.outer) region.left()
    this.#endOne(item.root)
  }

  /** The item could not be handled; its message fails when everything else of it has ended. */
  fail(item: Item, error: unknown, stage: string): void {
    item.root.failure ??= { error, stage }
    this.end(item)
  }

  /** Resolves when the message of the item has few open items. Meanwhile the caller does not go on by itself. */
  async whenFewer(root: Root): Promise<void> {
    if (root.open <= MANY_OPEN || root.isDead) return
    this.pending--
    await new Promise<void>((resolve) => {
      const { whenFewer: others } = root
      root.whenFewer = () => {
        others?.()
        resolve()
      }
      this.run(() => {})
    })
    this.pending++
  }

  /** User code has ended for an item of this root. */
  idle(root: Root): void {
    root.running--
    if (root.running === 0) root.owner.idle(root)
  }

  #endOne(root: Root): void {
    root.open--
    if (root.whenFewer !== undefined && (root.open <= FEW_OPEN || root.isDead)) {
      const { whenFewer } = root
      root.whenFewer = undefined
      whenFewer()
    }
    if (root.open === 0) root.owner.complete(root)
  }

  #relieve(): void {
    for (;;) {
      for (const intake of this.intakes) intake.take()
      const holder = this.#fullest()
      if (holder === undefined) return
      if (this.isDraining) holder.flushOldest('drain')
      else if (this.pending === 0 && this.#waitsForNothing()) holder.flushOldest('pressure')
      else return
    }
  }

  /** Nothing that moves by itself could fill the batches that are waited for. */
  #waitsForNothing(): boolean {
    return this.intakes.some(({ isFull }) => isFull) || this.intakes.every(({ isOver }) => isOver)
  }

  /** The one that has waited longest. */
  #fullest(): Holder | undefined {
    let found: Holder | undefined
    for (const holder of this.holders)
      if (holder.oldest !== undefined && (found?.oldest === undefined || holder.oldest < found.oldest)) found = holder
    return found
  }
}
