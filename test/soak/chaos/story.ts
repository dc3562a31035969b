import type { ChildRecord } from 'busbar/testing'

/** What a message asks of its handlers. */
export interface Task {
  /** `poison` is refused until the run is over and it is redriven; `retry` fails so many attempts first. */
  readonly kind: 'plain' | 'slow' | 'retry' | 'poison'
  readonly workMs: number
  readonly fails: number
  readonly retryMs: number
}

/** One publish, as the publisher saw it. */
export interface Sent {
  readonly id: string
  readonly key: string | undefined
  readonly kind: Task['kind']
  readonly delayMs: number
  /** When it was called, in ms since 1970. Publishes of one key follow each other, each after the outcome of the last. */
  readonly at: number
  readonly fate: 'confirmed' | 'unknown' | 'not-sent'
  /** When the publisher learned its fate; of one that died, when it died. */
  readonly settledAt: number
}

/** One step of a message in a member of a group. */
export interface Seen extends ChildRecord {
  readonly group: string
  /** The process. */
  readonly member: string
}

export interface Fault {
  readonly kind: string
  /** The process that it hit; `broker` hits all. */
  readonly target: string
  /** Nothing that the target said in that time has to have arrived. */
  readonly severs: boolean
  readonly at: number
  readonly until: number
}

/** A dead letter that was there when the faults were over, before anything was redriven. */
export interface Letter {
  readonly id: string
  readonly group: string
  readonly reason: string
}

/** All that is known of a run when everything has come to rest. */
export interface Story {
  readonly groups: readonly string[]
  /** Those of them that keep the order of keys. */
  readonly ordered: readonly string[]
  readonly sent: readonly Sent[]
  readonly seen: readonly Seen[]
  readonly faults: readonly Fault[]
  readonly letters: readonly Letter[]
  /** From here on what was dead-lettered comes again. */
  readonly redrivenAt: number
  /** Messages that the broker still holds for a group at the end, as it says itself. */
  readonly lag: Readonly<Record<string, number>>
  /** What is not well at the end: members, and the bus that looks on. */
  readonly unwell: readonly string[]
  /** How long after it is due a delayed message may come, faults included, in ms. */
  readonly lateMs: number
}

export type ViolationKind =
  'lost' | 'stuck' | 'impossible' | 'disorder' | 'attempts' | 'returned' | 'early' | 'late' | 'dead' | 'unwell'

export interface Violation {
  readonly kind: ViolationKind
  readonly text: string
  /** Message whose whole story says more. */
  readonly id?: string
  /** The other message that has a part in it. */
  readonly other?: string
}
