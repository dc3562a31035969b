import { expect } from 'vitest'
import type { ClusterOptions } from '../../../src/kafka/cluster/cluster-options.ts'
import { Cluster } from '../../../src/kafka/cluster/cluster.ts'
import type { TrackedTopics } from '../../../src/kafka/cluster/metadata-refresher.ts'
import type { ProduceRequest } from '../../../src/kafka/protocol/generated/api-types.ts'
import { batchOf } from './sim/batch.ts'
import { SimCluster } from './sim/sim-cluster.ts'
import type { SimOptions } from './sim/sim-cluster.ts'

export interface SetUp {
  readonly sim: SimCluster
  readonly cluster: Cluster
}

export function setUp(options: SimOptions = {}, changes: Partial<ClusterOptions> = {}): SetUp {
  const sim = new SimCluster(options)
  const cluster = new Cluster(sim.clientOptions(changes))
  return { sim, cluster }
}

/** What is left of a client after it was closed: nothing. */
export async function expectNothingLeft(sim: SimCluster, cluster: Cluster): Promise<void> {
  cluster.close()
  await sim.advance(1_000)
  expect([sim.network.open, sim.clientClock.timers]).toEqual([0, 0])
}

/** With a topic `t` of three partitions, led by the brokers 1, 2 and 3, whose metadata is known. */
export async function withTopic(
  options: SimOptions = {},
  changes: Partial<ClusterOptions> = {},
): Promise<SetUp & { readonly tracked: TrackedTopics }> {
  const { sim, cluster } = setUp(options, changes)
  sim.createTopic('t', 3)
  const tracked = cluster.track()
  tracked.add('t')
  await sim.run(cluster.topic('t'))
  return { sim, cluster, tracked }
}

/** Two records for a partition of `t`. */
export function produceBody(sim: SimCluster, partition: number): ProduceRequest {
  return {
    acks: -1,
    timeoutMs: 1_000,
    topicData: [
      { name: 't', topicId: sim.topic('t').id, partitionData: [{ index: partition, records: batchOf(['a', 'b']) }] },
    ],
  }
}
