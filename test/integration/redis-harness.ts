import { createClient } from 'redis'
import { afterAll, afterEach } from 'vitest'
import { createBus } from 'busbar'
import type { Bus, BusOptions } from 'busbar'
import { redis } from 'busbar/redis'
import type { RedisOptions } from 'busbar/redis'
import { tcpProxy } from 'busbar/testing'
import type { TcpProxy } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { RedisBroker } from '../../tools/brokers/index.ts'

export interface RedisHarness {
  readonly broker: RedisBroker
  /** What another program does, and sees. */
  readonly client: ReturnType<typeof createClient>
  /** A bus that is closed after the test. */
  readonly bus: (options?: Partial<RedisOptions>, more?: Partial<BusOptions>) => Bus
  /** A proxy before the broker, closed after the test. */
  readonly proxy: () => Promise<TcpProxy>
}

export interface HarnessOptions {
  /** Tests run at once: everything is closed after the last one. Default: after each test. */
  readonly concurrent?: boolean
  /** Of the server, after those of every Redis that tests start. */
  readonly args?: readonly string[]
}

/** A broker for the tests of one file. `common` are the options of every bus. */
export async function redisHarness(
  service: string,
  common: RedisOptions,
  { concurrent = false, args = [] }: HarnessOptions = {},
): Promise<RedisHarness> {
  const broker = await startPrivate('redis', { args })
  const client: RedisHarness['client'] = createClient({ url: broker.url })
  client.on('error', () => {})
  await client.connect()
  const proxies: TcpProxy[] = []
  const buses: Bus[] = []
  const cleanUp = async (): Promise<void> => {
    await Promise.all(proxies.splice(0).map((proxy) => proxy.close()))
    await Promise.all(buses.splice(0).map((bus) => bus.close({ timeoutMs: 500 })))
  }
  if (!concurrent) afterEach(cleanUp)
  afterAll(async () => {
    await cleanUp()
    client.destroy()
    await broker.stop()
  })
  return {
    broker,
    client,
    bus: (options = {}, more = {}) => {
      const transport = redis({ ...common, url: broker.url, ...options })
      const made = createBus({ service, transport, ...more })
      buses.push(made)
      return made
    },
    proxy: async () => {
      const made = await tcpProxy(broker)
      proxies.push(made)
      return made
    },
  }
}

/** The stream of a partition. */
export function streamOf(topic: string, partition = 0): string {
  return `busbar:{${topic}${partition === 0 ? '' : `/${partition}`}}`
}
