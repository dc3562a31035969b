import type { Transport } from '../core/transport.ts'
import { parseLocalUrl } from './local-url.ts'
import { createFromScheme, urlProblem } from './scheme.ts'
import type { Scheme, TransportFactories } from './scheme.ts'

export type { TransportFactories, TransportFactory } from './scheme.ts'

const RABBITMQ: Scheme = { name: 'RabbitMQ', peer: 'amqplib', create: brokerFromUrl('rabbitmq') }
const NATS: Scheme = { name: 'NATS', peer: '@nats-io/transport-node', create: brokerFromUrl('nats') }
const REDIS: Scheme = { name: 'Redis Streams', peer: 'redis', create: brokerFromUrl('redis') }
const KAFKA: Scheme = { name: 'Kafka', create: brokerFromUrl('kafka') }

/** A new transport adds one line here. Modules are imported only when their scheme is used. */
const SCHEMES: Readonly<Record<string, Scheme>> = {
  memory: { name: 'memory', create: memoryFromUrl },
  sqlite: { name: 'SQLite', create: sqliteFromUrl },
  amqp: RABBITMQ,
  amqps: RABBITMQ,
  nats: NATS,
  // NATS's spelling of a TLS URL.
  tls: NATS,
  redis: REDIS,
  rediss: REDIS,
  // A socket of the machine.
  unix: REDIS,
  kafka: KAFKA,
  // With TLS.
  kafkas: KAFKA,
  postgres: { name: 'PostgreSQL' },
  postgresql: { name: 'PostgreSQL' },
}

/**
 * Creates a transport from a URL, so that one environment variable can choose the broker:
 *
 *     const bus = createBus({ service: 'billing', transport: await transportFromUrl(process.env.BUS_URL ?? 'memory:') })
 *
 * - `memory:`
 * - `sqlite:./busbar.db`, `sqlite:///var/lib/busbar.db` (percent-encoded like any URL: `%20` is a space)
 * - `amqp://user:secret@host:5672/vhost`, `amqps://`
 * - `nats://user:secret@a:4222,b:4222?retention.maxAgeMs=60000`, `tls://`
 * - `redis://host:6379/0?retention.maxMessages=1000000`, `rediss://`, `unix:///run/redis.sock`; several hosts with `cluster=true` or
 *   `sentinel=name`
 * - `kafka://a:9092,b:9092?group=billing`, `kafkas://user:secret@a:9093`
 *
 * Parameters are options of the transport: `sqlite:./busbar.db?leaseMs=5000`. Does not connect.
 *
 * The transports of brokers are loaded from the installed package only when used, so you install only the clients you need. A
 * program bundled into one file has no installed package: pass the transports it may use.
 *
 *     import { redis } from 'busbar/redis'
 *     await transportFromUrl(url, { redis })
 *
 * Rejects with `ConfigurationError` for an unknown scheme, or one without a transport in this version, for an option that the
 * transport refuses, and when the transport's client library is not installed (it says how to install it). No error shows the
 * URL: it may contain a password.
 */
export function transportFromUrl(url: string, factories: TransportFactories = {}): Promise<Transport> {
  return createFromScheme(url, SCHEMES, factories)
}

async function memoryFromUrl(url: string): Promise<Transport> {
  const { path, options } = parseLocalUrl(url)
  if (path !== '') throw urlProblem('has a path after "memory:", which has no file: the broker lives in this process')
  const { memory } = await import('./memory/index.ts')
  return memory(options)
}

async function sqliteFromUrl(url: string): Promise<Transport> {
  const { path, options } = parseLocalUrl(url)
  if (path === '' || path === '/') throw urlProblem('has no path after "sqlite:": write sqlite:./busbar.db')
  const { sqlite } = await import('./sqlite/index.ts')
  return sqlite({ ...options, path })
}

/**
 * Builds the name of the subpath at run time, so that bundlers don't follow it: they would fail on clients that are not
 * installed.
 */
function brokerFromUrl(name: keyof TransportFactories): NonNullable<Scheme['create']> {
  return async (url, factories) => {
    const loaded = async (): Promise<TransportFactories> =>
      (await import(/* webpackIgnore: true */ /* @vite-ignore */ ['busbar', name].join('/'))) as TransportFactories
    const factory = factories[name] ?? (await loaded())[name]
    return (factory as NonNullable<typeof factory>)({ url })
  }
}
