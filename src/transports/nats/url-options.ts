import { BAD_PERCENT, passwordAdvice, setParameter, urlParameter } from '../../core/util/url-parameter.ts'
import type { NatsOptions } from './options.ts'

export interface FromUrl {
  /** The options without `url`, merged with the parameters of the URL. */
  readonly input: Record<string, unknown>
  /** `host:port`, as the client library expects them, without credentials. */
  readonly servers: readonly string[]
  /** True when a URL begins with `tls:`. */
  readonly tls: boolean
  /** Problems of the URL. They never show it: it may contain a password. */
  readonly problems: readonly string[]
}

const DEFAULT_URL = 'nats://127.0.0.1:4222'
const DEFAULT_PORT = '4222'

/** Options that are not allowed as parameters. */
const PLACES = new Set(['url', 'username', 'password', 'token', 'client', 'native'])
/** Options that are objects: `retention.maxAgeMs=60000`. */
const GROUPS = new Set(['stream', 'tls', 'reconnect', 'retention'])
/** Stay text, even when they look like a number. */
const TEXTS = new Set([
  'connectionName',
  'domain',
  'nkeySeed',
  'jwt',
  'credentials',
  'credentialsFile',
  'stream.name',
  'stream.bind',
  'stream.subjectPrefix',
])
/** Ways to log in that exclude a user in the URL. */
const OTHER_LOGINS = ['token', 'nkeySeed', 'credentials', 'credentialsFile'] as const

/**
 * Parses `options.url`. Options given beside the URL win over its parameters, so that a password may come from
 * elsewhere. Parameters are options: `nats://a:4222,b:4222?jetstream=false&stream.name=orders`.
 */
export function applyUrl(options: NatsOptions | undefined): FromUrl {
  if (options !== undefined && (typeof options !== 'object' || options === null))
    return { input: options, servers: [], tls: false, problems: [] }
  const { url, ...rest } = options ?? {}
  const input: Record<string, unknown> = { ...rest }
  const problems = new Set<string>()
  const servers: string[] = []
  let tls = false
  let login: { readonly user: string; readonly password: string } | undefined
  for (const entry of urlsOf(url)) {
    if (typeof entry !== 'string' || entry === '') {
      problems.add('must be a URL such as "nats://127.0.0.1:4222", or an array of them')
      continue
    }
    const [places, parameters] = splitOnce(entry, '?')
    const scheme = /^[a-z]+:\/\//i.exec(places)?.[0] ?? 'nats://'
    for (const part of places.split(',')) {
      const parsed = parse(part.trim(), scheme)
      if (typeof parsed === 'string') {
        problems.add(parsed === NOT_VALID ? parsed + passwordAdvice(entry) : parsed)
        continue
      }
      if (parsed.tls) tls = true
      servers.push(parsed.server)
      login ??= parsed.login
    }
    for (const [name, text] of new URLSearchParams(parameters)) {
      const problem = setOption(input, name, text)
      if (problem !== undefined) problems.add(problem)
    }
  }
  if (login !== undefined) logIn(input, login)
  return { input, servers, tls, problems: [...problems] }
}

function urlsOf(url: unknown): readonly unknown[] {
  if (url === undefined) return [DEFAULT_URL]
  return Array.isArray(url) ? (url as unknown[]) : [url]
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator)
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)]
}

interface Parsed {
  readonly server: string
  readonly tls: boolean
  readonly login: { readonly user: string; readonly password: string } | undefined
}

const NOT_VALID = 'must be like "nats://host:4222", "tls://host:4222" or "nats://a:4222,b:4222"'

function parse(text: string, scheme: string): Parsed | string {
  const full = text.includes('://') ? text : scheme + text
  if (!URL.canParse(full)) return NOT_VALID
  const { protocol, hostname, port, pathname, hash, username, password } = new URL(full)
  if ((protocol !== 'nats:' && protocol !== 'tls:') || hostname === '') return NOT_VALID
  if ((pathname !== '' && pathname !== '/') || hash !== '') return NOT_VALID
  try {
    return {
      server: `${hostname}:${port === '' ? DEFAULT_PORT : port}`,
      tls: protocol === 'tls:',
      login:
        username === '' ? undefined : { user: decodeURIComponent(username), password: decodeURIComponent(password) },
    }
  } catch {
    return `has a "%" in its user or password ${BAD_PERCENT}`
  }
}

/** A user without a password is a token, as in every NATS client, unless the password is given beside the URL. */
function logIn(input: Record<string, unknown>, login: { readonly user: string; readonly password: string }): void {
  if (OTHER_LOGINS.some((name) => input[name] !== undefined)) return
  if (login.password === '' && input['password'] === undefined && input['username'] === undefined) {
    input['token'] = login.user
    return
  }
  input['username'] ??= login.user
  input['password'] ??= login.password
}

/** Returns the problem, if any. */
function setOption(input: Record<string, unknown>, name: string, text: string): string | undefined {
  if (PLACES.has(name)) return `has a parameter "${name}", which belongs before the question mark or beside the URL`
  const value = TEXTS.has(name) || name.startsWith('tls.') ? toSwitch(text) : urlParameter(text)
  setParameter(input, name, value, GROUPS)
  return undefined
}

function toSwitch(text: string): unknown {
  return text === 'true' || text === 'false' ? text === 'true' : text
}
