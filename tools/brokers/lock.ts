import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { runDir } from './paths.ts'
import { waitFor } from './wait.ts'

/**
 * Runs `work` while no other process on this machine runs work under the same name. The kernel holds the lock for an
 * open file (through SQLite, which Node includes): it ends with its process, so there are no stale locks. A `folder` in
 * the cache is shared by all sets of brokers.
 */
export async function withLock<T>(name: string, work: () => Promise<T>, folder: string = runDir('locks')): Promise<T> {
  const timeoutMs = 30 * 60_000
  const file = join(folder, `${name}.lock`)
  const database = new DatabaseSync(file, { timeout: 0 })
  try {
    const held = await waitFor(() => tryBegin(database), { timeoutMs, intervalMs: 50 })
    if (held === undefined) throw new Error(`another process held the lock ${file} for ${timeoutMs} ms`)
    return await work()
  } finally {
    database.close()
  }
}

const SQLITE_BUSY = 5

function tryBegin(database: DatabaseSync): boolean {
  try {
    database.exec('BEGIN EXCLUSIVE')
    return true
  } catch (error) {
    if (error instanceof Error && (error as Error & { errcode?: number }).errcode === SQLITE_BUSY) return false
    throw error
  }
}
