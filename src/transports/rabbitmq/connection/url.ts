import type { Options } from 'amqplib'
import type { ServerAddress } from '../../../core/transport.ts'
import { passwordAdvice, setParameter, urlParameter } from '../../../core/util/url-parameter.ts'
import type { RabbitMqOptions } from '../options.ts'

const MIN_FRAME = 8_192
/** Parameters from AMQP's URI specification that we understand. They stay in the URL. */
const PARAMETERS = new Set(['heartbeat', 'frame_max', 'channel_max'])

/**
 * The options merged with those in the URL: `amqp://host?exchange=orders&partitions=8`. Options given beside the URL
 * win. Does not look into a list of URLs or a function.
 */
export function applyUrl(options: RabbitMqOptions | undefined): RabbitMqOptions | undefined {
  const given = options?.url
  if (typeof given !== 'string' || !URL.canParse(given)) return options
  const url = new URL(given)
  const own = Array.from(url.searchParams).filter(([name]) => !PARAMETERS.has(name))
  if (own.length === 0) return options
  const input: Record<string, unknown> = { ...options }
  for (const [name, text] of own) {
    setParameter(input, name, urlParameter(text))
    url.searchParams.delete(name)
  }
  return { ...input, url: url.href }
}

/** What is wrong with a URL, or undefined. Never shows it: it may contain a password. */
export function checkUrl(url: unknown): string | undefined {
  if (typeof url !== 'string') return `must be a string, got ${url === null ? 'null' : typeof url}`
  const unreadable = `is not a valid URL: write amqp://user:password@host:5672/vhost${passwordAdvice(url)}`
  if (!URL.canParse(url)) return unreadable
  const { protocol, searchParams, hostname, username, password, pathname, hash } = new URL(url)
  // The rest of a password after a "#".
  if (hash.includes('@')) return unreadable
  if (protocol !== 'amqp:' && protocol !== 'amqps:') return `has the scheme "${protocol}": use amqp: or amqps:`
  if (hostname === '') return 'names no host: write amqp://user:password@host:5672/vhost'
  if (![username, password, pathname].every(isDecodable))
    return 'has a "%" that starts no %XX: write a plain percent sign as %25'
  for (const [name, value] of searchParams) {
    if (!PARAMETERS.has(name))
      return `has the parameter "${name}": of several URLs, or from a function, they are ${[...PARAMETERS].join(', ')}; all else is an option of rabbitmq()`
    if (!/^\d{1,9}$/.test(value)) return `has the parameter "${name}" with a value that is not a number`
    if (name === 'frame_max' && Number(value) > 0 && Number(value) < MIN_FRAME)
      return `has frame_max=${value}: RabbitMQ wants ${MIN_FRAME} at least, from 4.1 on`
  }
  return undefined
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}

/** Parses a checked URL for amqplib. */
export function parseUrl(url: string): Options.Connect {
  const { protocol, hostname, port, username, password, pathname, searchParams } = new URL(url)
  const given = username !== '' || password !== ''
  const number = (name: string): number | undefined => {
    const value = searchParams.get(name)
    return value === null ? undefined : Number(value)
  }
  return {
    protocol: protocol.slice(0, -1),
    hostname: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? (protocol === 'amqps:' ? 5671 : 5672) : Number(port),
    username: given ? decodeURIComponent(username) : 'guest',
    password: given ? decodeURIComponent(password) : 'guest',
    // The library decodes its input once more. No path is the broker's usual vhost; "/" alone is an empty name.
    vhost: pathname === '' ? '/' : encodeURIComponent(decodeURIComponent(pathname.slice(1))),
    heartbeat: number('heartbeat'),
    frameMax: number('frame_max'),
    channelMax: number('channel_max'),
  }
}

/** The target of a connection, for messages: without user and password. */
export function describeTarget(target: Options.Connect): string {
  const { host, port } = serverOf(target)
  const { vhost } = target
  return `${host}:${port}${vhost === undefined || vhost === '/' ? '' : `/${vhost}`}`
}

export function serverOf({ hostname = 'localhost', port = 5672 }: Options.Connect): ServerAddress {
  return { host: hostname, port }
}
