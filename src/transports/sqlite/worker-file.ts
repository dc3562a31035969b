import { existsSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ConnectionError, UnsupportedError } from '../../core/errors.ts'

/** Name of the worker when a bundler made it a separate entry point. */
const BUNDLED = ['busbar-sqlite-worker.js', 'busbar-sqlite-worker.mjs', 'busbar-sqlite-worker.cjs']

/** What Node reports about where the code runs; tests replace it. */
export interface Surroundings {
  /** Undefined where a bundler turned this module into CommonJS. */
  readonly moduleUrl: string | undefined
  /** Folder of the CommonJS file that this module is part of, if it is. */
  readonly commonJsFolder: string | undefined
  /** The file that Node was started with. */
  readonly mainFile: string | undefined
}

/** Throws `UnsupportedError` when this runtime has no SQLite. */
export function requireSqlite(there: boolean = isBuiltin('node:sqlite')): void {
  if (!there)
    throw new UnsupportedError(
      `The SQLite transport needs Node's built-in module node:sqlite, which this runtime (Node ${process.versions.node}) does not have: ` +
        'use a Node that was built with SQLite, or another transport',
    )
}

/**
 * The file of the database thread: next to this module; in a bundle, next to the bundle or the file that Node was
 * started with. Throws a `ConnectionError` that is not retryable when it is in none of these places.
 */
export function findWorkerFile(surroundings: Surroundings = actualSurroundings()): string {
  const { moduleUrl, commonJsFolder, mainFile } = surroundings
  const own = moduleUrl?.startsWith('file:') === true ? fileURLToPath(moduleUrl) : undefined
  // The module has its own name only while no bundler has merged it into another file.
  if (own !== undefined && /^worker-file\.[jt]s$/.test(basename(own))) {
    const beside = join(dirname(own), basename(own) === 'worker-file.ts' ? 'worker.ts' : 'worker.js')
    if (existsSync(beside)) return beside
  }
  const folders = new Set(
    [
      own === undefined ? undefined : dirname(own),
      commonJsFolder,
      mainFile === undefined ? undefined : dirname(mainFile),
    ].filter((folder) => folder !== undefined),
  )
  for (const folder of folders)
    for (const name of BUNDLED) if (existsSync(join(folder, name))) return join(folder, name)
  throw new ConnectionError(
    `The SQLite transport can't find the file of its database thread, which a bundler does not include by itself: make ` +
      `"busbar/sqlite/worker" another entry point with the output name "busbar-sqlite-worker", or leave "busbar" out of the ` +
      `bundle (external). ${BUNDLED[0]} was looked for in ${[...folders].join(' and ') || 'no folder: this code is in no file'}`,
    { retryable: false },
  )
}

function actualSurroundings(): Surroundings {
  return {
    moduleUrl: import.meta.url,
    commonJsFolder: typeof __dirname === 'string' ? __dirname : undefined,
    mainFile: process.argv[1],
  }
}
