import { BAD_PERCENT, passwordAdvice, setParameter, urlParameter } from '../../core/util/url-parameter.ts'
import type { RedisOptions } from './options.ts'

export interface FromUrl {
  /** The options without `url`, merged with the parameters of the URL. */
  readonly input: Record<string, unknown>
  /** Unix socket. */
  readonly path: string | undefined
  /** Problems of the URL. They never show it: it may contain a password. */
  readonly problems: readonly string[]
}

/**
 * Parses `options.url`. Options given beside the URL win over its parameters, so that a password may come from
 * elsewhere.
 */
export function applyUrl(options: RedisOptions): FromUrl {
  if (typeof options !== 'object' || options === null) return { input: options, path: undefined, problems: [] }
  const { url, ...rest } = options
  const input: Record<string, unknown> = { ...rest }
  if (url === undefined) return { input, path: undefined, problems: [] }
  if (typeof url !== 'string') return { input, path: undefined, problems: [`must be a string, got a ${typeof url}`] }
  const parsed = parse(url)
  if (typeof parsed === 'string') return { input, path: undefined, problems: [parsed] }
  const problems: string[] = []
  for (const [name, value] of Object.entries(parsed.values)) input[name] ??= value
  for (const [name, text] of parsed.parameters) {
    if (SERVERS.has(name)) continue
    if (PLACES.has(name)) problems.push(`has a parameter "${name}", which belongs before the question mark`)
    else setParameter(input, name, urlParameter(text), GROUPS)
  }
  return { input, path: parsed.path, problems }
}

const PLACES = new Set(['url', 'host', 'port', 'username', 'password', 'database', 'client', 'tls'])

/** Options that are objects: `?retention.maxMessages=1000`, `?partitions.audit.log=1`. */
const GROUPS: ReadonlySet<string> = new Set(['partitions', 'reconnect', 'retention', 'wait'])

/** Parameters that define what the hosts are. */
const SERVERS = new Set(['cluster', 'sentinel'])

interface Parsed {
  readonly values: Readonly<Record<string, unknown>>
  readonly parameters: URLSearchParams
  readonly path: string | undefined
}

const NOT_VALID = 'is not a valid URL: write redis://host:6379, rediss://host:6379 or unix:///run/redis.sock'

function parse(text: string): Parsed | string {
  // The URL class accepts only one host, and refuses an authority without a host for schemes that it does not know.
  const hosts = /^rediss?:\/\/(?:[^@/?#]*@)?([^/?#]*)/.exec(text)?.[1]?.split(',') ?? []
  let url: URL
  try {
    url = new URL(
      hosts.length > 1
        ? text.replace(hosts.join(','), hosts[0] as string)
        : text.replace(/^unix:\/\/([^@/]*@)?\//, 'unix://$1socket/'),
    )
  } catch {
    return NOT_VALID + passwordAdvice(text)
  }
  // The rest of a password after a "#".
  if (url.hash.includes('@')) return NOT_VALID + passwordAdvice(text)
  if (!['redis:', 'rediss:', 'unix:'].includes(url.protocol)) return 'must start with redis:, rediss: or unix:'
  const values: Record<string, unknown> = {}
  try {
    if (url.username !== '') values['username'] = decodeURIComponent(url.username)
    if (url.password !== '') values['password'] = decodeURIComponent(url.password)
    if (url.protocol === 'unix:')
      return { values, parameters: url.searchParams, path: decodeURIComponent(url.pathname) }
  } catch {
    return `has a "%" in its user, password or path ${BAD_PERCENT}`
  }
  const servers = serversOf(url, hosts)
  if (typeof servers === 'string') return servers
  Object.assign(values, servers)
  if (url.protocol === 'rediss:') values['tls'] = true
  if (url.pathname.length > 1) {
    if (!/^\/\d{1,5}$/.test(url.pathname))
      return 'has a path that is not the number of a database: write redis://host:6379/0'
    values['database'] = Number(url.pathname.slice(1))
  }
  return { values, parameters: url.searchParams, path: undefined }
}

/** One host; or with `cluster=true` nodes of a cluster; or with `sentinel=name` the sentinels of that primary. */
function serversOf(url: URL, hosts: readonly string[]): Record<string, unknown> | string {
  const name = url.searchParams.get('sentinel')
  if (name !== null) return { sentinel: { name, nodes: hosts } }
  if (url.searchParams.get('cluster') === 'true') return { cluster: { nodes: hosts } }
  if (hosts.length > 1)
    return 'has several hosts: say what they are with ?cluster=true or ?sentinel=<name of the primary>'
  const values: Record<string, unknown> = {}
  if (url.hostname !== '') values['host'] = url.hostname.replace(/^\[(.*)\]$/, '$1')
  if (url.port !== '') values['port'] = Number(url.port)
  return values
}
