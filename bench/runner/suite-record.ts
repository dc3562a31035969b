import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SuiteName } from '../suites/suite.ts'
import type { CaseRecord } from './case-record.ts'
import { PROJECT_FOLDER } from './folders.ts'
import type { Machine } from './machine.ts'

/** A whole run of one suite, as it is kept in `reports/bench/`. */
export interface SuiteRecord {
  readonly suite: SuiteName
  readonly title: string
  readonly command: string
  /** `YYYY-MM-DD`. */
  readonly date: string
  readonly version: string
  readonly machine: Machine
  readonly services: readonly string[]
  readonly peers: Readonly<Record<string, string>>
  readonly cases: readonly CaseRecord[]
}

const FOLDER = join(PROJECT_FOLDER, 'reports', 'bench')

export function saveSuiteRecord(record: SuiteRecord): void {
  mkdirSync(FOLDER, { recursive: true })
  writeFileSync(join(FOLDER, `${record.suite}.json`), `${JSON.stringify(record, null, 2)}\n`)
}

/** The last full run of that suite on this machine. */
export function readSuiteRecord(suite: SuiteName): SuiteRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(FOLDER, `${suite}.json`), 'utf8')) as SuiteRecord
  } catch {
    return undefined
  }
}
