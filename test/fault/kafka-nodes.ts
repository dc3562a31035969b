import type { Cluster } from '../../src/kafka/cluster/cluster.ts'
import { systemClock } from '../../src/kafka/network/clock.ts'
import { Connection } from '../../src/kafka/network/connection.ts'
import { nodeSockets } from '../../src/kafka/network/sockets.ts'
import type { MetadataResponse } from '../../src/kafka/protocol/generated/api-types.ts'
import { waitFor } from '../../tools/brokers/index.ts'
import type { BrokerNode, KafkaBroker } from '../../tools/brokers/index.ts'
import { addressesOf } from '../integration/kafka-broker.ts'

const METADATA_QUORUM = { topicName: '__cluster_metadata', partitions: [{ partitionIndex: 0 }] }
/** What a probe waits for. */
const PROBE_MS = 2_000

export function nodeOf({ nodes }: KafkaBroker, id: number): BrokerNode {
  const node = nodes.find((each) => each.id === id)
  if (node === undefined) throw new Error(`no node ${id}`)
  return node
}

/** The node that leads the controllers; brokers answer questions about the controller with any node. */
export async function controllerOf(broker: KafkaBroker, cluster: Cluster): Promise<BrokerNode> {
  const { topics } = await cluster.sendToAny('DescribeQuorum', { topics: [METADATA_QUORUM] })
  return nodeOf(broker, topics[0]?.partitions[0]?.leaderId ?? -1)
}

/**
 * Resolves when the nodes agree that every partition of the topics has a leader and at least two replicas in sync, all of them among these
 * nodes: from then on, what a client wants can be had. Rejects after `timeoutMs`.
 */
export async function untilServing(
  nodes: readonly BrokerNode[],
  topics: readonly string[],
  { inSync = 2, timeoutMs = 120_000 }: { readonly inSync?: number; readonly timeoutMs?: number } = {},
): Promise<void> {
  const ids = new Set(nodes.map(({ id }) => id))
  let last: readonly (MetadataResponse | undefined)[] = []
  const isServing = async (): Promise<boolean> => {
    last = await Promise.all(nodes.map((node) => askNode(node, topics)))
    return last.every((answer) => answer !== undefined && isServed(answer, ids, inSync))
  }
  if ((await waitFor(isServing, { timeoutMs, intervalMs: 200 })) === true) return
  throw new Error(`not healthy after ${timeoutMs} ms: ${JSON.stringify(last)}`)
}

/**
 * Resolves when the nodes agree that every partition of every topic, Kafka's own included, has a leader and all of its replicas in sync:
 * any node may fail next. Rejects after `timeoutMs`.
 */
export async function untilInSync(nodes: readonly BrokerNode[], timeoutMs = 60_000): Promise<void> {
  let behind: readonly string[] = []
  const isInSync = async (): Promise<boolean> => (behind = await notInSync(nodes)).length === 0
  if ((await waitFor(isInSync, { timeoutMs, intervalMs: 200 })) === true) return
  throw new Error(`not in sync after ${timeoutMs} ms: ${behind.slice(0, 20).join(', ')}`)
}

/** What the nodes say to be without a leader, or without a replica in sync; empty when any of them may fail. */
export async function notInSync(nodes: readonly BrokerNode[]): Promise<readonly string[]> {
  const answers = await Promise.all(nodes.map(async (node) => partitionsBehind(node, await askNode(node, null))))
  return answers.flat()
}

/** The node that has the offsets and members of a group. */
export async function coordinatorOf(broker: KafkaBroker, cluster: Cluster, group: string): Promise<BrokerNode> {
  return nodeOf(broker, await cluster.coordinators.find('group', group))
}

/** How many partitions of the topics each node leads, by id. */
export async function ledBy(cluster: Cluster, topics: readonly string[]): Promise<ReadonlyMap<number, number>> {
  const body = { topics: topics.map((name) => ({ name })), allowAutoTopicCreation: false }
  const answer = await cluster.sendToAny('Metadata', body)
  const led = new Map<number, number>()
  for (const { leaderId } of answer.topics.flatMap(({ partitions }) => partitions))
    led.set(leaderId, (led.get(leaderId) ?? 0) + 1)
  return led
}

/** The lag of each partition of a group, as Kafka's own tool sees it. */
export async function lagByTool(broker: KafkaBroker, group: string): Promise<readonly number[]> {
  const text = await broker.tool(
    'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand',
    `--bootstrap-server=${addressesOf(broker).join(',')}`,
    '--describe',
    `--group=${group}`,
  )
  // Group, topic, partition, committed offset, end of the log, lag.
  const rows = text.split('\n').filter((line) => line.startsWith(group))
  return rows.map((line) => Number(line.trim().split(/\s+/)[5]))
}

function partitionsBehind({ id }: BrokerNode, answer: MetadataResponse | undefined): readonly string[] {
  if (answer === undefined) return [`node ${id} does not answer`]
  return answer.topics.flatMap(({ name, partitions }) =>
    partitions
      .filter(({ leaderId, replicaNodes, isrNodes }) => leaderId < 0 || isrNodes.length < replicaNodes.length)
      .map(({ partitionIndex }) => `${name}/${partitionIndex} on node ${id}`),
  )
}

function isServed({ topics }: MetadataResponse, ids: ReadonlySet<number>, inSync: number): boolean {
  return topics.every(
    ({ errorCode, partitions }) =>
      errorCode === 0 &&
      partitions.every(
        ({ leaderId, isrNodes }) =>
          ids.has(leaderId) && isrNodes.length >= inSync && isrNodes.every((replica) => ids.has(replica)),
      ),
  )
}

/** What a node itself says of these topics, or of all, over a connection of its own; undefined if it does not answer. */
async function askNode(
  { id, host, port }: BrokerNode,
  topics: readonly string[] | null,
): Promise<MetadataResponse | undefined> {
  const connection = new Connection({
    address: { host, port },
    sasl: undefined,
    openSocket: nodeSockets(),
    clock: systemClock,
    settings: {
      name: `node ${id}`,
      clientId: 'probe',
      softwareName: 'probe',
      softwareVersion: '1',
      requestTimeoutMs: PROBE_MS,
      connectTimeoutMs: PROBE_MS,
      maxInFlight: 1,
      // The metadata of thousands of partitions is larger than that of a test's own topics.
      maxFrameBytes: 1 << 24,
    },
  })
  try {
    const body = { topics: topics?.map((name) => ({ name })) ?? null, allowAutoTopicCreation: false }
    return (await connection.send('Metadata', body)).response
  } catch {
    // It is down, frozen or starting.
    return undefined
  } finally {
    connection.close()
  }
}
