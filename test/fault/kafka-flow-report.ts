import type { KafkaError } from '../../src/kafka/errors.ts'

export type Outcome = 'confirmed' | KafkaError['outcome']

/** What became of all records, by id. */
export interface FlowReport {
  readonly sent: number
  readonly confirmed: number
  /** Failed, and perhaps written. */
  readonly unknown: number
  /** Failed, and said not to be written. */
  readonly failed: number
  /** Confirmed, and not in the log. */
  readonly lost: number
  /** More than once in the log. */
  readonly doubled: number
  /** Failed as not written, and in the log. */
  readonly untrue: number
  /** Confirmed, and never handled. */
  readonly unhandled: number
  /** Handled for the first time after a later one of its partition was, or behind one in the log. */
  readonly reordered: number
  readonly handledAgain: number
  readonly produceStallMs: number
  readonly consumeStallMs: number
  /** Of a hundred pauses between two confirmations of a partition, one was longer. */
  readonly producePauseP99Ms: number
}

export interface Records {
  readonly sent: number
  readonly outcomes: ReadonlyMap<number, Outcome>
  /** Times, by id. */
  readonly handled: ReadonlyMap<number, number>
  /** Times in the log, by id. */
  readonly logged: ReadonlyMap<number, number>
}

/** Counts by id. */
export function account({
  sent,
  outcomes,
  handled,
  logged,
}: Records): Omit<FlowReport, 'reordered' | 'produceStallMs' | 'consumeStallMs' | 'producePauseP99Ms'> {
  const of = (outcome: Outcome) => [...outcomes].filter((each) => each[1] === outcome).map(([id]) => id)
  const confirmed = of('confirmed')
  const failed = [...of('not-sent'), ...of('rejected')]
  return {
    sent,
    confirmed: confirmed.length,
    unknown: of('unknown').length,
    failed: failed.length,
    lost: confirmed.filter((id) => !logged.has(id)).length,
    doubled: [...logged.values()].filter((count) => count > 1).length,
    untrue: failed.filter((id) => logged.has(id)).length,
    unhandled: confirmed.filter((id) => !handled.has(id)).length,
    handledAgain: [...handled.values()].reduce((sum, count) => sum + count - 1, 0),
  }
}
