import type { SimClock } from './clock.ts'
import { CODE } from './codes.ts'

interface Place {
  broker: number
  /** Until then the broker reads what its predecessor has left. */
  loadedAt: number
}

/** Which broker coordinates which group and which transactional id. */
export class SimCoordinators {
  readonly #clock: SimClock
  readonly #alive: () => readonly number[]
  readonly #places = new Map<string, Place>()
  /** How long a broker that has become coordinator is loading. */
  loadMs = 20
  /** False: no broker coordinates anything, as when the internal topics can't be made. */
  isAvailable = true

  constructor(clock: SimClock, alive: () => readonly number[]) {
    this.#clock = clock
    this.#alive = alive
  }

  find(type: string, key: string): number | undefined {
    if (!this.isAvailable) return undefined
    const id = `${type}:${key}`
    const place = this.#places.get(id)
    if (place !== undefined) return place.broker
    const alive = this.#alive()
    const broker = alive[hash(id) % alive.length]
    if (broker !== undefined) this.#places.set(id, { broker, loadedAt: this.#clock.now() })
    return broker
  }

  /** 0 if this broker coordinates the key and is ready. */
  check(type: string, key: string, broker: number): number {
    if (this.find(type, key) !== broker) return CODE.NOT_COORDINATOR
    const { loadedAt = 0 } = this.#places.get(`${type}:${key}`) ?? {}
    return this.#clock.now() < loadedAt ? CODE.COORDINATOR_LOAD_IN_PROGRESS : 0
  }

  move(type: string, key: string, broker: number): void {
    this.#places.set(`${type}:${key}`, { broker, loadedAt: this.#clock.now() + this.loadMs })
  }

  /** Everything that a broker coordinates goes to others. */
  moveFrom(broker: number): void {
    const others = this.#alive().filter((id) => id !== broker)
    for (const [id, place] of this.#places) {
      const next = others[hash(id) % others.length]
      if (place.broker !== broker || next === undefined) continue
      this.#places.set(id, { broker: next, loadedAt: this.#clock.now() + this.loadMs })
    }
  }
}

function hash(text: string): number {
  let value = 0
  for (let index = 0; index < text.length; index++) value = (Math.imul(value, 31) + text.charCodeAt(index)) >>> 0
  return value
}
