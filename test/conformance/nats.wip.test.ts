import { setTimeout as wait } from 'node:timers/promises'
import { connect, headers as makeHeaders } from '@nats-io/transport-node'
import * as vitest from 'vitest'
import { nats } from '../../src/transports/nats/index.ts'
import { conformance, tcpProxy } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'

const broker = await startPrivate('nats')
const proxy = await tcpProxy(broker)

conformance(vitest, {
  name: 'nats',
  version: broker.version,
  create: () => nats({ url: `nats://${proxy.host}:${proxy.port}`, ackWaitMs: 2_000, stream: { partitions: 3 } }),
  childModule: new URL('./nats-child.ts', import.meta.url),
  childEnv: { BUSBAR_TEST_NATS: broker.url },
  faults: {
    cutConnections: () => proxy.cut(),
    restartBroker: () => broker.restart(),
    async killBroker() {
      await broker.kill()
      await broker.restart()
    },
    async pauseBroker(ms) {
      await broker.pause()
      await wait(ms)
      await broker.resume()
    },
  },
  foreign: {
    // A connection each time: one that lives on may be reconnecting from the restarts before.
    async publish(topic, body, headers = {}) {
      const foreign = await connect({ servers: [`${broker.host}:${broker.port}`] })
      const native = makeHeaders()
      for (const [name, value] of Object.entries(headers)) native.append(name, value)
      foreign.publish(`busbar.any.${topic}`, body, { headers: native })
      await foreign.flush()
      await foreign.close()
    },
  },
})

vitest.afterAll(async () => {
  await proxy.close()
  await broker.stop()
})
