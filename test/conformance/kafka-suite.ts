import type { KafkaOptions } from 'busbar/kafka'
import type { OpenSocket } from 'busbar/kafka/client'
import type { TcpProxy } from 'busbar/testing'
import { nodeSockets } from '../../src/kafka/network/sockets.ts'

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

/** Lines of the broker's properties that allow such times. Of KIP-848 groups, the broker decides itself. */
export const QUICK_PROPERTIES = {
  'group.min.session.timeout.ms': '1000',
  'group.consumer.min.session.timeout.ms': '1000',
  'group.consumer.session.timeout.ms': '2000',
  'group.consumer.min.heartbeat.interval.ms': '150',
  'group.consumer.heartbeat.interval.ms': '150',
  'transaction.abort.timed.out.transaction.cleanup.interval.ms': '200',
}

/** Whatever address the broker names, it is reached through the proxy. */
export function through({ host, port }: Pick<TcpProxy, 'host' | 'port'>): OpenSocket {
  const open = nodeSockets()
  return (_address, handlers) => open({ host, port }, handlers)
}
