import { connect, headers as makeHeaders } from '@nats-io/transport-node'
import * as vitest from 'vitest'
import { nats } from '../../src/transports/nats/index.ts'
import { conformance, tcpProxy } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'

const broker = await startPrivate('nats', { jetStream: false })
const proxy = await tcpProxy(broker)
const foreign = await connect({ servers: [`${broker.host}:${broker.port}`] })

conformance(vitest, {
  name: 'nats-core',
  version: broker.version,
  create: () => nats({ url: `nats://${proxy.host}:${proxy.port}`, jetstream: false }),
  childModule: new URL('./nats-core-child.ts', import.meta.url),
  childEnv: { BUSBAR_TEST_NATS: broker.url },
  faults: { cutConnections: () => proxy.cut() },
  foreign: {
    async publish(topic, body, headers = {}) {
      const native = makeHeaders()
      for (const [name, value] of Object.entries(headers)) native.append(name, value)
      foreign.publish(`busbar.any.${topic}`, body, { headers: native })
      await foreign.flush()
    },
  },
})

vitest.afterAll(async () => {
  await foreign.close()
  await proxy.close()
  await broker.stop()
})
