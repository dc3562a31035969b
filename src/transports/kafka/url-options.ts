import { BAD_PERCENT, passwordAdvice, setParameter, urlParameter } from '../../core/util/url-parameter.ts'
import type { KafkaOptions } from './options.ts'

export interface FromUrl {
  /** The options without `url`, merged with the parameters of the URL. */
  readonly input: Record<string, unknown>
  /** `host:port` of each broker, without credentials. */
  readonly brokers: readonly string[]
  readonly tls: boolean
  /** Problems of the URL. They never show it: it may contain a password. */
  readonly problems: readonly string[]
}

const DEFAULT_BROKER = '127.0.0.1:9092'
const DEFAULT_PORT = '9092'
const NOT_VALID = 'must be like "kafka://host:9092", "kafkas://host:9093" or "kafka://a:9092,b:9092"'

/** Options that are not allowed as parameters. */
const PLACES = new Set(['url', 'brokers', 'username', 'password', 'sasl', 'client', 'native', 'partitioner', 'tls'])
/** Options that are objects: `fetch.maxWaitMs=100`. */
const GROUPS = new Set(['fetch', 'reconnect', 'topicConfigs'])
/** Stay text, even when they look like a number. */
const TEXTS = new Set(['connectionName', 'group', 'instanceId', 'rack', 'mechanism'])

/**
 * Parses `options.url`. Options given beside the URL win over its parameters, so that a password may come from elsewhere.
 * Parameters are options: `kafka://a:9092,b:9092?group=billing&acks=all`.
 */
export function applyUrl(options: KafkaOptions | undefined): FromUrl {
  if (options !== undefined && (typeof options !== 'object' || options === null))
    return { input: options, brokers: [DEFAULT_BROKER], tls: false, problems: [] }
  const { url, ...rest } = options ?? {}
  const input: Record<string, unknown> = { ...rest }
  if (url === undefined) return { input, brokers: [DEFAULT_BROKER], tls: false, problems: [] }
  const failed = (problem: string): FromUrl => ({ input, brokers: [DEFAULT_BROKER], tls: false, problems: [problem] })
  if (typeof url !== 'string') return failed(NOT_VALID)
  const question = url.indexOf('?')
  const places = question < 0 ? url : url.slice(0, question)
  const scheme = /^(kafkas?):\/\//i.exec(places)
  if (scheme === null) return failed(NOT_VALID + passwordAdvice(url))
  const parsed = parsePlaces(places.slice(scheme[0].length))
  if (typeof parsed === 'string') return failed(parsed === NOT_VALID ? parsed + passwordAdvice(url) : parsed)
  const problems: string[] = []
  for (const [name, text] of new URLSearchParams(question < 0 ? '' : url.slice(question + 1))) {
    const problem = setOption(input, name, text)
    if (problem !== undefined) problems.push(problem)
  }
  const { login, brokers } = parsed
  if (login !== undefined && input['sasl'] === undefined) {
    input['username'] ??= login.user
    input['password'] ??= login.password
  }
  return { input, brokers, tls: scheme[1]?.toLowerCase() === 'kafkas', problems }
}

interface Places {
  readonly brokers: readonly string[]
  readonly login: { readonly user: string; readonly password: string | undefined } | undefined
}

/** `user:password@a:9092,b:9092`: the user is that of all brokers. */
function parsePlaces(text: string): Places | string {
  const brokers: string[] = []
  let login: Places['login']
  for (const part of text.replace(/\/$/, '').split(',')) {
    const full = `kafka://${part.trim()}`
    if (!URL.canParse(full)) return NOT_VALID
    const { hostname, port, pathname, hash, username, password } = new URL(full)
    if (hostname === '' || (pathname !== '' && pathname !== '/') || hash !== '') return NOT_VALID
    brokers.push(`${hostname}:${port === '' ? DEFAULT_PORT : port}`)
    if (username === '') continue
    try {
      const decoded = password === '' ? undefined : decodeURIComponent(password)
      login ??= { user: decodeURIComponent(username), password: decoded }
    } catch {
      return `has a "%" in its user or password ${BAD_PERCENT}`
    }
  }
  return { brokers, login }
}

/** Returns the problem, if any. */
function setOption(input: Record<string, unknown>, name: string, text: string): string | undefined {
  if (PLACES.has(name)) return `has a parameter "${name}", which belongs before the question mark or beside the URL`
  setParameter(input, name, valueOf(name, text), GROUPS)
  return undefined
}

function valueOf(name: string, text: string): unknown {
  if (name === 'assignors') return text.split(',')
  return TEXTS.has(name) || name.startsWith('topicConfigs.') ? text : urlParameter(text)
}
