import { UnsupportedError } from '../errors.ts'

/** The `engines` of package.json. Older versions lack functions that are first needed when a bus closes. */
const OLDEST_NODE = [22, 18] as const

/** Throws `UnsupportedError` when this Node is too old. */
export function requireNode(version: string = process.versions.node): void {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [oldestMajor, oldestMinor] = OLDEST_NODE
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return
  throw new UnsupportedError(
    `Busbar needs Node ${oldestMajor}.${oldestMinor} or newer, and this is ${version}: update Node`,
  )
}
