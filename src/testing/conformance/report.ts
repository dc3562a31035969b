import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Capabilities } from '../../core/transport.ts'
import type { ScenarioGroup } from './scenario.ts'

/** How a scenario ended. `exception`: it was left out, for the reason given in the option `exceptions`. */
export type ScenarioStatus = 'passed' | 'failed' | 'exception' | 'not-applicable'

/** Result of one scenario. */
export interface ScenarioResult {
  readonly id: string
  readonly group: ScenarioGroup
  /** Number of the invariant in DESIGN.md. */
  readonly invariant: number
  readonly title: string
  readonly status: ScenarioStatus
  /** Why it failed, is an exception, or does not apply. */
  readonly reason?: string | undefined
  readonly durationMs: number
}

/** What `conformance()` writes to `reports/conformance/<transport>.json`. */
export interface ConformanceReport {
  readonly transport: string
  /** Version of the broker or of the transport, if the run set it. */
  readonly version?: string | undefined
  readonly system: string
  readonly capabilities: Capabilities
  /** Duration of the whole run. */
  readonly durationMs: number
  readonly scenarios: readonly ScenarioResult[]
}

/** Writes a report completely or not at all. Returns its path. */
export function writeReport(folder: string, report: ConformanceReport): string {
  mkdirSync(folder, { recursive: true })
  const path = join(folder, `${report.transport}.json`)
  writeFileSync(`${path}.new`, `${JSON.stringify(report, undefined, 2)}\n`)
  renameSync(`${path}.new`, path)
  return path
}
