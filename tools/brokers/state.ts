import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { InstanceRecord } from './blueprint.ts'
import { runDir } from './paths.ts'
import type { BrokerName } from './types.ts'

const FORMAT = 1

/** One file for each broker, so that brokers that start in parallel never overwrite each other's record. */
function fileOf(name: BrokerName): string {
  return join(runDir('state'), `${name}.json`)
}

/** The record of the shared instance; undefined when none was started or the file is from another version. */
export function readState(name: BrokerName): InstanceRecord | undefined {
  try {
    const { format, record } = JSON.parse(readFileSync(fileOf(name), 'utf8')) as {
      format: number
      record: InstanceRecord
    }
    return format === FORMAT ? record : undefined
  } catch {
    return undefined
  }
}

export function writeState(record: InstanceRecord): void {
  const file = fileOf(record.blueprint.name)
  const draft = `${file}.${process.pid}`
  writeFileSync(draft, JSON.stringify({ format: FORMAT, record }, null, 2), { mode: 0o600 })
  renameSync(draft, file)
}

export function removeState(name: BrokerName): void {
  rmSync(fileOf(name), { force: true })
}
