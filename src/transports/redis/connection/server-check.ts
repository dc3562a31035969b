import { ConfigurationError, UnsupportedError } from '../../../core/errors.ts'
import type { TransportHost } from '../../../core/transport.ts'
import type { RedisContext } from '../context.ts'
import { messageOf, replyCode } from '../errors.ts'
import type { Arg } from './given-client.ts'

/** The version of XAUTOCLAIM: exclusive ranges, XPENDING IDLE, CLIENT INFO. */
const OLDEST = [6, 2] as const

/** Asks the server for its major version; throws `UnsupportedError` when it is too old. */
export async function checkVersion(run: (args: readonly Arg[]) => Promise<unknown>): Promise<number> {
  let info: Map<string, string>
  try {
    info = parseInfo(await run(['INFO', 'server']))
  } catch (error) {
    // An ACL may forbid INFO and allow everything else; then the oldest supported version is assumed.
    if (replyCode(error) === 'NOPERM') return OLDEST[0]
    throw error
  }
  const version = info.get('redis_version') ?? ''
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]))
    throw new UnsupportedError(
      `Redis ${version} is too old for this transport: it needs ${OLDEST.join('.')} or newer, or any Valkey`,
    )
  return major
}

/** Of the names and the content of all keys. In a cluster, partitions share no key. */
const LAYOUT = '2'

/** Keys of another version of Busbar are refused, before anything is read from them or written to them. */
export async function checkLayout(
  run: (args: readonly Arg[]) => Promise<unknown>,
  { commands, keys, options, reports }: RedisContext,
): Promise<void> {
  const ours = commands.cluster ? `${LAYOUT}-cluster` : LAYOUT
  const read = async (): Promise<string | undefined> => {
    const found = await run(['GET', keys.layout])
    return found === null ? undefined : (found as Buffer | string).toString()
  }
  let found = await read()
  if (found === undefined) {
    try {
      await run(['SET', keys.layout, ours, 'NX'])
    } catch (error) {
      // It takes no writes at present, or not from this user: then it can't be noted, and nothing else is written either.
      if (replyCode(error) === undefined) throw error
      reports.refused(error)
      return
    }
    found = await read()
  }
  if (found !== undefined && found !== ours)
    throw new ConfigurationError('redis', [
      {
        path: 'prefix',
        message: `the keys "${options.prefix}…" have layout "${found}", and this version of Busbar uses layout "${ours}": use the version that made them, or another prefix (a layout of a cluster differs from that of a single server)`,
      },
    ])
}

/** Warns of a server that may lose messages: by evicting keys, or by keeping nothing on disk. */
export async function checkServer(host: TransportHost, run: (args: readonly Arg[]) => Promise<unknown>): Promise<void> {
  const warn = (code: string, detail: string): void =>
    host.events.emit('warning', { transport: host.name, code, detail })
  let info: Map<string, string>
  try {
    info = parseInfo(await run(['INFO']))
  } catch (error) {
    warn('redis-unchecked', `It can't be told how safe messages are on this server: ${messageOf(error)}`)
    return
  }
  const policy = info.get('maxmemory_policy') ?? 'noeviction'
  if (policy !== 'noeviction')
    warn(
      'redis-eviction',
      `maxmemory-policy is "${policy}": when memory is short, Redis throws streams away, messages and all. Set it to noeviction.`,
    )
  const aof = info.get('aof_enabled') === '1'
  if (!aof)
    warn(
      'redis-persistence',
      'appendonly is off: when Redis ends unexpectedly, every message since its last snapshot is lost. Set appendonly yes.',
    )
  else if (info.get('aof_last_write_status') === 'err')
    warn('redis-persistence', 'Redis could not write its append-only file of late')
}

function parseInfo(reply: unknown): Map<string, string> {
  const info = new Map<string, string>()
  for (const line of String(reply).split('\r\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) info.set(line.slice(0, colon), line.slice(colon + 1))
  }
  return info
}
