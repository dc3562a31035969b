import { createClient } from '../../../src/kafka/index.ts'
import { startPrivate } from '../../../tools/brokers/index.ts'
import type { KafkaBroker } from '../../../tools/brokers/index.ts'
import { freePort } from '../../../tools/brokers/ports.ts'
import { KafkaProxy } from '../kafka-proxy.ts'
import type { Meter, Reading } from '../meter.ts'

/** Shown one by one; the others together. */
const SHOWN = ['Fetch', 'Heartbeat', 'OffsetFetch', 'OffsetCommit'] as const
const HEAP_MB = 1_024

/** A broker with one more listener, at the address of a proxy that counts what clients ask. */
export async function startMeteredKafka(): Promise<{ readonly broker: KafkaBroker; readonly meter: Meter }> {
  const proxy = await KafkaProxy.listen()
  const [port, controller, behind] = [await freePort(), await freePort(), await freePort()]
  proxy.target(behind)
  const local = (name: string, at: number): string => `${name}://127.0.0.1:${at}`
  const broker = await startPrivate('kafka', {
    heapMb: HEAP_MB,
    port,
    properties: {
      'controller.quorum.voters': `1@127.0.0.1:${controller}`,
      listeners: [local('PLAINTEXT', port), local('PROXIED', behind), local('CONTROLLER', controller)].join(','),
      'advertised.listeners': [local('PLAINTEXT', port), local('PROXIED', proxy.port)].join(','),
      'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT',
    },
  })
  return { broker, meter: kafkaMeter(broker, proxy) }
}

function kafkaMeter(broker: KafkaBroker, proxy: KafkaProxy): Meter {
  const client = createClient({ brokers: [new URL(broker.url).host], clientId: 'meter' })
  const admin = client.admin()
  return {
    url: `kafka://127.0.0.1:${proxy.port}`,
    async read(): Promise<Reading> {
      const { requests, bytesIn, bytesOut, connections } = proxy.counts()
      const all = [...requests.values()].reduce((sum, count) => sum + count, 0)
      const shown = SHOWN.map((api) => [api, requests.get(api) ?? 0] as const)
      const topics = (await admin.topics.list()).filter((name) => !name.startsWith('__'))
      const described = await admin.topics.describe(topics)
      const partitions = described.reduce((sum, each) => sum + each.partitions.length, 0)
      const groups = await admin.groups.list()
      return {
        counters: {
          requests: all,
          ...Object.fromEntries(shown),
          other: shown.reduce((left, [, count]) => left - count, all),
          'B in': bytesIn,
          'B out': bytesOut,
        },
        objects: { partitions, groups: groups.length },
        connections,
      }
    },
    async [Symbol.asyncDispose]() {
      await client.close({ deadlineMs: 1_000 })
      await proxy[Symbol.asyncDispose]()
    },
  }
}
