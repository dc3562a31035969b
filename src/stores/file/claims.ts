import { randomUUID } from 'node:crypto'
import { access, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { ClaimStore } from '../../claim-check/store.ts'
import { OptionsReader } from '../../core/util/options-reader.ts'

/** Options of `fileClaimStore`. */
export interface FileClaimStoreOptions {
  /** Where the bodies lie. On a file system that all hosts share, if there are several. Made when it is missing. */
  readonly folder: string
}

/** Large bodies as files. */
export interface FileClaimStore extends ClaimStore {
  /**
   * Deletes the bodies that were published on days (UTC) before this time; resolves with the number of days. Call it once a day,
   * with a time longer ago than any message waits or lies in the dead letters.
   */
  deleteBefore(time: Date): Promise<number>
}

const DAY = /^\d{8}$/

/**
 * Keeps the bodies of large messages as files `<folder>/<day>/<SHA-256>`. A body is written and flushed to the disk under another
 * name, and then renamed: whoever finds it finds it whole, after a crash too. Several processes may share the folder.
 *
 * Throws `ConfigurationError`.
 */
export function fileClaimStore(options: FileClaimStoreOptions): FileClaimStore {
  const reader = new OptionsReader('fileClaimStore()', options, `fileClaimStore({ folder: '/mnt/claims' })`)
  const given = reader.requiredString('folder')
  reader.done()
  const folder = resolve(given)
  return Object.freeze({
    async put(name, body) {
      const file = join(folder, name)
      if (!(await exists(file))) await writeWhole(file, body)
      // Also when it was there: the process that has just written it may not have come that far.
      await syncFolder(dirname(file))
    },
    async get(name) {
      try {
        return await readFile(join(folder, name))
      } catch (error) {
        if (isMissing(error)) return undefined
        throw error
      }
    },
    async deleteBefore(time) {
      const limit = time.toISOString().slice(0, 10).replaceAll('-', '')
      const old = (await daysOf(folder)).filter((day) => day < limit)
      for (const day of old) await rm(join(folder, day), { recursive: true, force: true })
      return old.length
    },
  } satisfies FileClaimStore)
}

async function writeWhole(file: string, body: Uint8Array): Promise<void> {
  const day = dirname(file)
  if ((await mkdir(day, { recursive: true })) !== undefined) await syncFolder(dirname(day))
  const part = `${file}.${randomUUID()}.part`
  try {
    const handle = await open(part, 'wx')
    try {
      await handle.writeFile(body)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(part, file)
  } catch (error) {
    await rm(part, { force: true })
    throw error
  }
}

/** Makes a new name durable, not only the bytes. Windows can't open folders, and keeps names in its journal. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function daysOf(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((name) => DAY.test(name))
  } catch (error) {
    if (isMissing(error)) return []
    throw error
  }
}

async function exists(file: string): Promise<boolean> {
  try {
    await access(file)
    return true
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT'
}
