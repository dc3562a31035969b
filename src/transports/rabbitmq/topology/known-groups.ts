import { findDeadKey, deadKeyOf } from './group-layout.ts'
import type { GroupLayout } from './group-layout.ts'

/** One group of a topic. */
export interface GroupRecord {
  readonly topic: string
  readonly group: string
  /** Undefined while nobody has asked the broker. */
  readonly layout: GroupLayout | undefined
}

/** A group, and how many members of it a process has. */
interface Answer extends GroupRecord {
  readonly members: number
}

const MOST = 50_000

/** The groups that this process has declared, heard of from others, or been asked about: AMQP can't list queues. */
export class KnownGroups {
  readonly #records = new Map<string, GroupRecord>()
  /** Members in all processes, when they were last asked. */
  #members = new Map<string, number>()

  set(topic: string, group: string, layout: GroupLayout | undefined): void {
    const key = keyOf(topic, group)
    if (layout === undefined && this.#records.has(key)) return
    if (this.#records.size < MOST || this.#records.has(key)) this.#records.set(key, { topic, group, layout })
  }

  delete(topic: string, group: string): void {
    this.#records.delete(keyOf(topic, group))
  }

  list(): readonly GroupRecord[] {
    return [...this.#records.values()]
  }

  members(topic: string, group: string): number {
    return this.#members.get(keyOf(topic, group)) ?? 0
  }

  /** What this process answers others. */
  encode(members: (record: GroupRecord) => number): Buffer {
    const rows = this.list().flatMap((record) => {
      const { topic, group, layout } = record
      return layout === undefined ? [] : [[topic, deadKeyOf(layout, group), members(record)]]
    })
    return Buffer.from(JSON.stringify(rows))
  }

  /** Learns from the answers of all processes. */
  learn(answers: readonly Buffer[]): void {
    const all = answers.flatMap(decode)
    this.#members = new Map()
    for (const { topic, group, layout, members } of all) {
      this.set(topic, group, layout)
      this.#members.set(keyOf(topic, group), this.members(topic, group) + members)
    }
  }
}

function keyOf(topic: string, group: string): string {
  return `${topic}:${group}`
}

function decode(answer: Buffer): readonly Answer[] {
  try {
    const rows = JSON.parse(answer.toString()) as readonly (readonly unknown[])[]
    return rows.flatMap(([topic, key, members]) => {
      const found = typeof key === 'string' ? findDeadKey(key) : undefined
      if (found === undefined || typeof topic !== 'string' || typeof members !== 'number') return []
      return [{ topic, group: found.group, layout: found.layout, members }]
    })
  } catch {
    // Of a version that answers in another form.
    return []
  }
}
