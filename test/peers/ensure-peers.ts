import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** Where the tools of our users are installed: esbuild, Jest, the oldest Node that we support, and other clients of Kafka. */
export const PEERS: string = import.meta.dirname

/** Where the database libraries of our users are installed. */
export const DATABASE_LIBRARIES: string = join(PEERS, '../database-libraries')

const MODULES = join(PEERS, 'node_modules')
const FILES = ['package.json', 'package-lock.json', '.npmrc']

/** Installs them, once for each state of their lock file. Test files that do so at the same time don't disturb each other. */
export function ensurePeers(): Promise<void> {
  return ensureInstalled(PEERS, 'esbuild, Jest, the oldest Node and Kafka clients for the tests (test/peers)')
}

/** Installs the database libraries in the same way. */
export function ensureDatabaseLibraries(): Promise<void> {
  return ensureInstalled(DATABASE_LIBRARIES, 'database libraries for the tests (test/database-libraries)')
}

async function ensureInstalled(at: string, what: string): Promise<void> {
  if (isInstalled(at)) return
  process.stderr.write(`busbar: installing ${what}; this happens once\n`)
  const modules = join(at, 'node_modules')
  const folder = mkdtempSync(join(at, '.new-'))
  try {
    for (const file of FILES) cpSync(join(at, file), join(folder, file))
    await promisify(execFile)('npm', ['ci', '--no-audit', '--no-fund'], {
      cwd: folder,
      env: withoutNpmSettings(),
      shell: process.platform === 'win32',
    })
    if (isInstalled(at)) return
    cpSync(join(at, 'package-lock.json'), join(folder, 'node_modules/.installed-lock.json'))
    rmSync(modules, { recursive: true, force: true })
    renameSync(join(folder, 'node_modules'), modules)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The oldest Node that package.json allows; undefined where npm has none for this machine. */
export function oldestNode(): string | undefined {
  const path = join(MODULES, `node-${process.platform}-${process.arch}`, 'bin/node')
  return existsSync(path) ? path : undefined
}

function isInstalled(at: string): boolean {
  const record = join(at, 'node_modules/.installed-lock.json')
  return existsSync(record) && readFileSync(record, 'utf8') === readFileSync(join(at, 'package-lock.json'), 'utf8')
}

/** Our environment for an npm in another project: what npm tells its scripts about this one would be taken for options there. */
export function withoutNpmSettings(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_(package|config_local|lifecycle)/.test(name)),
  )
}
