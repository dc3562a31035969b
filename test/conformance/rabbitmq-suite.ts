import { setTimeout as sleep } from 'node:timers/promises'
import * as vitest from 'vitest'
import { createBus } from 'busbar'
import { rabbitmq } from '../../src/transports/rabbitmq/index.ts'
import { allScenarios, conformance, tcpProxy } from 'busbar/testing'
import type { Runner } from 'busbar/testing'
import type { RabbitMqBroker } from '../../tools/brokers/index.ts'
import { plainClient, sweep } from './rabbitmq-sweep.ts'

/** RabbitMQ forgets the leader of a queue whose node is killed sooner after its creation. */
const YOUNG_MS = 1_500

/** The broker should not have to start with the queues of all scenarios before. */
const RESTARTS = new Set<string | undefined>(
  allScenarios
    .filter(({ needs = [] }) => needs.includes('fault:restartBroker') || needs.includes('fault:killBroker'))
    .map(({ id }) => id),
)

/** The whole suite on a broker that is stopped afterwards. `parameters`: options of the transport, as those of its URL. */
export async function rabbitMqConformance(name: string, broker: RabbitMqBroker, parameters = ''): Promise<void> {
  const proxy = await tcpProxy({ port: broker.port })
  vitest.beforeAll(() => useDelays(broker.url))
  vitest.afterAll(async () => {
    await proxy.close()
    await broker.stop()
  })
  const describe: Runner['describe'] = (title, body) =>
    vitest.describe(title, () => {
      body()
      vitest.afterAll(() => sweep(broker))
    })
  const it: Runner['it'] = (title, options, body) =>
    vitest.it(title, options, async (context) => {
      if (RESTARTS.has(title.split(' ')[0])) await sweep(broker)
      await body(context)
    })
  conformance(
    { ...vitest, describe, it },
    {
      name,
      version: broker.version,
      create: () => rabbitmq({ url: `amqp://${proxy.host}:${proxy.port}${parameters}` }),
      childModule: new URL('./rabbitmq-child.ts', import.meta.url),
      childEnv: { BUSBAR_TEST_RABBITMQ: `${broker.url}${parameters}` },
      foreign: plainClient(broker.url),
      faults: {
        cutConnections: () => proxy.cut(),
        restartBroker: () => broker.restart(),
        async killBroker() {
          // Groups of the scenario are new, and the broker has their queues on disk only after that time (docs).
          await sleep(YOUNG_MS)
          await broker.kill()
          await broker.restart()
        },
        async pauseBroker(ms) {
          await broker.pause()
          await sleep(ms)
          await broker.resume()
        },
      },
    },
  )
}

/**
 * Creates the queues for delays up to a minute, and waits until the broker has them on disk. RabbitMQ forgets the leader of one
 * whose node is killed within 1.5 s of its creation (docs/reference/transports/rabbitmq.md), and all scenarios share them.
 */
async function useDelays(url: string): Promise<void> {
  const bus = createBus({
    logger: false,
    service: 'conformance',
    transport: rabbitmq({ url, groups: [{ topic: 'delays', group: 'unused' }] }),
  })
  await bus.start()
  await bus.publish('delays', 'later', { delayMs: 60_000 })
  await bus.close()
}
