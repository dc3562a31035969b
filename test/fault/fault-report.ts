import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { LedgerReport } from 'busbar/testing'

/** What a fault did to the messages, as the table of docs/explanation/reliability.md shows it. */
export interface FaultRow {
  /** Names the row, within its broker: a second run replaces it. */
  readonly fault: string
  readonly confirmed: number
  readonly unknown: number
  readonly notSent: number
  /** Confirmed and never handled. */
  readonly missing: number
  /** Handlings beyond the first. */
  readonly repeated: number
  /** The most repetitions that the fault explains. */
  readonly explained: number
  readonly outOfOrder: number
  /** From the end of the fault until messages were confirmed and handled again, in ms. */
  readonly backMs?: number | undefined
}

export interface FaultReport {
  readonly transport: string
  readonly version: string
  readonly rows: readonly FaultRow[]
}

const FOLDER = join(import.meta.dirname, '../../reports/faults')

/** Keeps the row in reports/faults/<transport>.json, from which `npm run docs:faults` makes the table. */
export function recordFault(transport: string, version: string, row: FaultRow): void {
  mkdirSync(FOLDER, { recursive: true })
  const path = join(FOLDER, `${transport}.json`)
  const rows = [...readRows(path).filter(({ fault }) => fault !== row.fault), row]
  writeFileSync(path, `${JSON.stringify({ transport, version, rows } satisfies FaultReport, undefined, 2)}\n`)
}

function readRows(path: string): readonly FaultRow[] {
  try {
    return (JSON.parse(readFileSync(path, 'utf8')) as FaultReport).rows
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

export function toRow(
  fault: string,
  report: LedgerReport & { readonly repeated: number },
  explained: number,
  backMs?: number,
): FaultRow {
  const { confirmed, unknown, notSent, repeated } = report
  const [missing, outOfOrder] = [report.missing.length, report.outOfOrder.length]
  return { fault, confirmed, unknown, notSent, missing, repeated, explained, outOfOrder, backMs }
}
