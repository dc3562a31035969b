import { setTimeout as wait } from 'node:timers/promises'
import * as vitest from 'vitest'
import { kafka } from 'busbar/kafka'
import type { KafkaOptions } from 'busbar/kafka'
import { createClient } from 'busbar/kafka/client'
import type { OpenSocket } from 'busbar/kafka/client'
import { conformance, tcpProxy } from 'busbar/testing'
import type { ConformanceOptions, Runner, TcpProxy } from 'busbar/testing'
import { nodeSockets } from '../../src/kafka/network/sockets.ts'
import type { BrokerNode, KafkaBroker } from '../../tools/brokers/index.ts'
import { untilInSync } from '../fault/kafka-nodes.ts'
import { addressesOf } from '../integration/kafka-broker.ts'
import { QUICK } from './kafka-suite.ts'

/** Scenarios that a topic with several partitions can't pass: the transport refuses them. */
const STRICT_NEEDS_ONE_PARTITION =
  "refused: order 'strict' needs a topic with one partition, and those of the suite have three"

/** Scenarios in which members share the messages of one partition. */
const ONE_OWNER =
  'a partition has one owner, whatever the order: what is behind a message that a member holds waits for that member, or for its partition to move'

/** A scenario that waits for deliveries to be lost with a connection. */
const OUTLIVES_CONNECTIONS =
  'a cut connection takes nothing back: partitions stay with their member for the length of its session, and its commits count on any connection'

/**
 * Scenarios that stop the only broker while transactions end. The broker logs each marker that it leaves out: "Couldn't find leader endpoint
 * for partitions … these partitions are likely deleted already and hence can be skipped".
 */
const SKIPPED_MARKERS =
  'Kafka 4.3.1 completes a transaction without the markers of partitions that have no leader at that moment, as when the only broker stops or starts; readers wait for those markers for good'

/** What differs between the runs of the suite. */
export interface KafkaConformance {
  /** Name of the report. */
  readonly name: string
  /** Its member protocol. Default `classic`. */
  readonly protocol?: NonNullable<KafkaOptions['protocol']>
  /** Leaves out scenarios. Default: runs all. */
  readonly runner?: Runner
}

/** The suite on a broker of one node or three, which is stopped afterwards. */
export async function kafkaConformance(broker: KafkaBroker, run: KafkaConformance): Promise<void> {
  const { name, protocol = 'classic', runner = vitest } = run
  const proxies = new Map<number, TcpProxy>()
  for (const { host, port } of broker.nodes) proxies.set(port, await tcpProxy({ host, port }))
  const isCluster = broker.nodes.length > 1
  conformance(runner, {
    name,
    version: broker.version,
    create: () =>
      kafka({ ...QUICK, protocol, url: broker.url, native: { client: { openSocket: throughEach(proxies) } } }),
    childModule: new URL('./kafka-child.ts', import.meta.url),
    childEnv: { BUSBAR_TEST_KAFKA: `${broker.url}?protocol=${protocol}` },
    faults: { cutConnections: () => cutAll(proxies), ...(isCluster ? clusterFaults(broker) : brokerFaults(broker)) },
    foreign: foreign(broker),
    // Three nodes that restart in turn take half a minute.
    ...(isCluster ? { scenarioTimeoutMs: 180_000 } : {}),
    exceptions: {
      'ordering/strict': STRICT_NEEDS_ONE_PARTITION,
      'ordering/strict-two-members': STRICT_NEEDS_ONE_PARTITION,
      'back-pressure/never-returns': ONE_OWNER,
      'back-pressure/pause-resume': ONE_OWNER,
      'lifecycle/drain': ONE_OWNER,
      'reconnect/old-settles': OUTLIVES_CONNECTIONS,
      ...(isCluster
        ? {}
        : {
            'transactions/restart-under-load': SKIPPED_MARKERS,
            'transactions/kill-under-load': SKIPPED_MARKERS,
            'transactions/exactly-once-restart': SKIPPED_MARKERS,
            'transactions/exactly-once-kill': SKIPPED_MARKERS,
          }),
    },
  })
  vitest.afterAll(async () => {
    for (const proxy of proxies.values()) await proxy.close()
    await broker.stop()
  })
}

type Faults = NonNullable<ConformanceOptions['faults']>

/** The addresses that the nodes name are reached through the proxy of each. */
function throughEach(proxies: ReadonlyMap<number, TcpProxy>): OpenSocket {
  const open = nodeSockets()
  return ({ host, port }, handlers) => open(proxies.get(port) ?? { host, port }, handlers)
}

function cutAll(proxies: ReadonlyMap<number, TcpProxy>): void {
  for (const proxy of proxies.values()) proxy.cut()
}

/** What a test can do to a broker of one node. */
export function brokerFaults(broker: KafkaBroker): Faults {
  return {
    restartBroker: () => broker.restart(),
    async killBroker() {
      await broker.kill()
      await broker.restart()
    },
    pauseBroker: (ms) => freeze(broker, ms),
  }
}

/** A restart is a rolling one. Otherwise one node after the other fails, each whole again before the next. */
function clusterFaults({ nodes }: KafkaBroker): Faults {
  let turn = 0
  const next = (): BrokerNode => nodes[turn++ % nodes.length] as BrokerNode
  return {
    async restartBroker() {
      for (const node of nodes) {
        await node.restart()
        await untilInSync(nodes)
      }
    },
    async killBroker() {
      const node = next()
      await node.kill()
      await node.restart()
      await untilInSync(nodes)
    },
    async pauseBroker(ms) {
      await freeze(next(), ms)
      await untilInSync(nodes)
    },
  }
}

async function freeze(what: Pick<KafkaBroker, 'pause' | 'resume'>, ms: number): Promise<void> {
  await what.pause()
  await wait(ms)
  await what.resume()
}

/** A client that knows nothing of Busbar's envelope. */
export function foreign(broker: KafkaBroker): NonNullable<ConformanceOptions['foreign']> {
  return {
    async publish(topic, body, headers = {}) {
      await using client = createClient({ brokers: addressesOf(broker) })
      const given = Object.entries(headers).map(([key, value]) => ({ key, value }))
      await client.producer().send({ topic, value: Buffer.from(body), headers: given })
    },
  }
}
