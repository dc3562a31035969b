import { DatabaseSync } from 'node:sqlite'
import { isLocked } from './connection.ts'

export const DEFAULT_BUSY_TIMEOUT_MS = 5_000

/**
 * Opens a file with write-ahead logging, and creates what the store needs. Several processes may do so at once: only here, at the
 * start, the caller is blocked while another one holds the file.
 */
export function openFile(path: string, busyTimeoutMs: number, create: (database: DatabaseSync) => void): DatabaseSync {
  const database = new DatabaseSync(path)
  try {
    // Changing the journal mode doesn't wait for a lock by itself.
    untilFree(busyTimeoutMs, () => {
      database.exec('PRAGMA journal_mode = WAL')
      create(database)
    })
    database.exec('PRAGMA synchronous = NORMAL')
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

function untilFree(timeoutMs: number, work: () => void): void {
  const nap = new Int32Array(new SharedArrayBuffer(4))
  const until = performance.now() + timeoutMs
  for (;;) {
    try {
      return work()
    } catch (error) {
      if (!isLocked(error) || performance.now() >= until) throw error
      Atomics.wait(nap, 0, 0, 1 + Math.random())
    }
  }
}
