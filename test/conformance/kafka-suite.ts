import { setTimeout as wait } from 'node:timers/promises'
import type { KafkaOptions } from 'busbar/kafka'
import { createClient } from 'busbar/kafka/client'
import type { OpenSocket } from 'busbar/kafka/client'
import type { ConformanceOptions, TcpProxy } from 'busbar/testing'
import { nodeSockets } from '../../src/kafka/network/sockets.ts'
import type { KafkaBroker } from '../../tools/brokers/index.ts'

/** Times that make a test quick: a process that dies loses its partitions after the session. */
export const QUICK: KafkaOptions = {
  partitions: 3,
  sessionTimeoutMs: 2_000,
  heartbeatMs: 150,
  rebalanceTimeoutMs: 6_000,
  revokeTimeoutMs: 2_000,
  metadataMaxAgeMs: 500,
  requestTimeoutMs: 5_000,
  reconnect: { minMs: 20, maxMs: 200 },
  fetch: { maxWaitMs: 100 },
  transactionTimeoutMs: 1_000,
}

/** Lines of the broker's properties that allow such times. */
export const QUICK_PROPERTIES = {
  'group.min.session.timeout.ms': '1000',
  'transaction.abort.timed.out.transaction.cleanup.interval.ms': '200',
}

/** Scenarios that a topic with several partitions can't pass: the transport refuses them. */
export const STRICT_NEEDS_ONE_PARTITION =
  "refused: order 'strict' needs a topic with one partition, and those of the suite have three"

/** Scenarios in which members share the messages of one partition. */
export const ONE_OWNER =
  'a partition has one owner, whatever the order: what is behind a message that a member holds waits for that member, or for its partition to move'

/** A scenario that waits for deliveries to be lost with a connection. */
export const OUTLIVES_CONNECTIONS =
  'a cut connection takes nothing back: partitions stay with their member for the length of its session, and its commits count on any connection'

/**
 * Scenarios that stop the only broker while transactions end. The broker logs each marker that it leaves out: "Couldn't find leader endpoint
 * for partitions … these partitions are likely deleted already and hence can be skipped".
 */
export const SKIPPED_MARKERS =
  'Kafka 4.3.1 completes a transaction without the markers of partitions that have no leader at that moment, as when the only broker stops or starts; readers wait for those markers for good'

/** Whatever address the broker names, it is reached through the proxy. */
export function through({ host, port }: Pick<TcpProxy, 'host' | 'port'>): OpenSocket {
  const open = nodeSockets()
  return (_address, handlers) => open({ host, port }, handlers)
}

/** What a test of Kafka can do to its broker. */
export function kafkaFaults(broker: KafkaBroker, proxy: TcpProxy): NonNullable<ConformanceOptions['faults']> {
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

/** A client that knows nothing of Busbar's envelope. */
export function kafkaForeign(broker: KafkaBroker): NonNullable<ConformanceOptions['foreign']> {
  return {
    async publish(topic, body, headers = {}) {
      await using client = createClient({ brokers: [`${broker.host}:${broker.port}`] })
      const given = Object.entries(headers).map(([key, value]) => ({ key, value }))
      await client.producer().send({ topic, value: Buffer.from(body), headers: given })
    },
  }
}
