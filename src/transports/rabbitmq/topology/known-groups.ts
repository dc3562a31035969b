import type { GroupLayout } from './group-layout.ts'

/** One group of a topic. */
export interface GroupRecord {
  readonly topic: string
  readonly group: string
  /** Undefined while nobody has asked the broker. */
  readonly layout: GroupLayout | undefined
}

const MOST = 10_000

/** The groups that this process has declared or been asked about: AMQP can't list queues. */
export class KnownGroups {
  readonly #records = new Map<string, GroupRecord>()

  set(topic: string, group: string, layout: GroupLayout | undefined): void {
    const key = `${topic}:${group}`
    if (layout === undefined && this.#records.has(key)) return
    if (this.#records.size < MOST || this.#records.has(key)) this.#records.set(key, { topic, group, layout })
  }

  get(topic: string, group: string): GroupRecord | undefined {
    return this.#records.get(`${topic}:${group}`)
  }

  delete(topic: string, group: string): void {
    this.#records.delete(`${topic}:${group}`)
  }

  list(): readonly GroupRecord[] {
    return [...this.#records.values()]
  }
}
