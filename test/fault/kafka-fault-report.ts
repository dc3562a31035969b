import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FlowReport } from './kafka-flow-report.ts'

/** What a fault did to the records of the Kafka client, as the table of docs/kafka/faults.md shows it. */
export interface KafkaFaultRow {
  /** Names the row, together with `group`: a second run replaces it. */
  readonly fault: string
  /** The protocol of the group; empty if nobody consumes. */
  readonly group: string
  readonly confirmed: number
  readonly unknown: number
  /** Confirmed and not in the log, or not handled. */
  readonly lost: number
  /** More than once in the log. */
  readonly duplicated: number
  readonly outOfOrder: number
  /** Failed as not written, and in the log. */
  readonly untrue: number
  /** Handlings beyond the first. */
  readonly handledAgain?: number | undefined
  /** The longest time without progress while the cluster was healthy, in ms. */
  readonly produceStallMs?: number | undefined
  readonly consumeStallMs?: number | undefined
}

export interface KafkaFaultReport {
  readonly transport: 'kafka-client'
  readonly version: string
  readonly rows: readonly KafkaFaultRow[]
}

const FILE = join(import.meta.dirname, '../../reports/faults/kafka-client.json')

/** Keeps the row in reports/faults/kafka-client.json, from which `npm run docs:faults` makes the table. */
export function recordKafkaFault(version: string, row: KafkaFaultRow): void {
  mkdirSync(join(FILE, '..'), { recursive: true })
  const others = readRows().filter(({ fault, group }) => fault !== row.fault || group !== row.group)
  const report: KafkaFaultReport = { transport: 'kafka-client', version, rows: [...others, row] }
  writeFileSync(FILE, `${JSON.stringify(report, undefined, 2)}\n`)
}

function readRows(): readonly KafkaFaultRow[] {
  try {
    return (JSON.parse(readFileSync(FILE, 'utf8')) as KafkaFaultReport).rows
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

/** `explained`: how many confirmed records the fault itself has deleted. */
export function flowRow(fault: string, group: string, report: FlowReport, explained = 0): KafkaFaultRow {
  const { confirmed, unknown, lost, unhandled, doubled, reordered, untrue, handledAgain } = report
  return {
    fault,
    group,
    confirmed,
    unknown,
    lost: Math.max(0, Math.max(lost, unhandled) - explained),
    duplicated: doubled,
    outOfOrder: reordered,
    untrue,
    handledAgain,
    produceStallMs: report.produceStallMs,
    consumeStallMs: report.consumeStallMs,
  }
}
