import { setTimeout as wait } from 'node:timers/promises'
import { connect, headers as makeHeaders } from '@nats-io/transport-node'
import type { NatsConnection } from '@nats-io/transport-node'
import type { ConformanceOptions, TcpProxy } from 'busbar/testing'
import type { NatsBroker } from '../../tools/brokers/index.ts'

/** What a test of NATS can do to its server. */
export function natsFaults(broker: NatsBroker, proxy: TcpProxy): NonNullable<ConformanceOptions['faults']> {
  return {
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
  }
}

/** A client that knows nothing of Busbar. It connects each time: one that lives on may still be reconnecting from a restart. */
export function natsForeign(broker: NatsBroker): NonNullable<ConformanceOptions['foreign']> {
  return {
    async publish(topic, body, headers = {}) {
      const client: NatsConnection = await connect({ servers: `${broker.host}:${broker.port}` })
      const native = makeHeaders()
      for (const [name, value] of Object.entries(headers)) native.append(name, value)
      client.publish(`busbar.any.${topic}`, body, { headers: native })
      await client.flush()
      await client.close()
    },
  }
}
