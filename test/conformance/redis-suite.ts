import { setTimeout as wait } from 'node:timers/promises'
import { createClient } from 'redis'
import * as vitest from 'vitest'
import { redis } from 'busbar/redis'
import { conformance, tcpProxy } from 'busbar/testing'
import type { RedisBroker } from '../../tools/brokers/index.ts'

/** The whole suite on a broker that is stopped afterwards. */
export async function redisConformance(name: string, broker: RedisBroker): Promise<void> {
  const proxy = await tcpProxy(broker)
  const foreign = await createClient({ url: broker.url })
    .on('error', () => {})
    .connect()
  conformance(vitest, {
    name,
    version: broker.version,
    // Short, so that what a killed process held comes back while a scenario waits.
    create: () =>
      redis({
        host: proxy.host,
        port: proxy.port,
        retention: { maxMessages: 1_000_000 },
        leaseMs: 2_000,
        pollIntervalMs: 200,
      }),
    childModule: new URL('./redis-child.ts', import.meta.url),
    childEnv: { BUSBAR_TEST_REDIS: broker.url },
    exceptions: {
      'reconnect/old-settles':
        'Deliveries belong to the member and its lease, not to a connection: after a cut they are still its own, and are settled over the next connection.',
    },
    faults: {
      cutConnections: () => proxy.cut(),
      restartBroker: () => broker.restart(),
      killBroker: () => broker.kill().then(() => broker.restart()),
      pauseBroker: (ms) =>
        broker
          .pause()
          .then(() => wait(ms))
          .then(() => broker.resume()),
    },
    foreign: {
      publish: async (topic, body, headers = {}) =>
        void (await foreign.xAdd(`busbar:{${topic}}`, '*', { ...headers, data: Buffer.from(body) })),
    },
  })
  vitest.afterAll(async () => {
    foreign.destroy()
    await proxy.close()
    await broker.stop()
  })
}
