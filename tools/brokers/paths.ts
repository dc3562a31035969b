import { lstatSync, mkdirSync } from 'node:fs'
import { homedir, tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'

export const REPO_ROOT: string = join(import.meta.dirname, '..', '..')

/** Downloads: jars and built servers. Outside the tree, kept between checkouts. */
export function cacheDir(...parts: readonly string[]): string {
  const base = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache')
  const dir = join(base, 'busbar', ...parts)
  mkdirSync(dir, { recursive: true })
  return dir
}

/** State, data and logs of running brokers. `BUSBAR_BROKERS_DIR` gives a test or a second checkout a separate set. */
export function runDir(...parts: readonly string[]): string {
  const base = process.env['BUSBAR_BROKERS_DIR'] || join(tmpdir(), `busbar-brokers-${userInfo().uid}`)
  // 0711: PostgreSQL runs as another user when we are root, and must reach its own folder below this one.
  mkdirSync(base, { recursive: true, mode: 0o711 })
  assertOurs(base)
  const dir = join(base, ...parts)
  mkdirSync(dir, { recursive: true, mode: 0o711 })
  return dir
}

/** The name under the shared temp folder is predictable: another user may have created it before us. */
function assertOurs(dir: string): void {
  const stat = lstatSync(dir)
  const uid = userInfo().uid
  if (!stat.isDirectory() || (uid >= 0 && stat.uid !== uid)) {
    throw new Error(`${dir} belongs to another user; set BUSBAR_BROKERS_DIR to a folder of your own`)
  }
}
