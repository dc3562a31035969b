import { Cluster } from '../../../../src/kafka/cluster/cluster.ts'
import type { ClusterOptions } from '../../../../src/kafka/cluster/cluster-options.ts'
import { KafkaError } from '../../../../src/kafka/errors.ts'
import { Producer } from '../../../../src/kafka/producer/producer.ts'
import type { ProducerContext } from '../../../../src/kafka/producer/producer.ts'
import type { ProducerOptions } from '../../../../src/kafka/producer/producer-options.ts'
import { readRecords } from '../../../../src/kafka/records/read-records.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import type { SimOptions } from '../sim/sim-cluster.ts'

export interface Parts {
  readonly sim: SimCluster
  readonly cluster: Cluster
  readonly context: ProducerContext
  readonly producer: Producer
}

export interface SetUpOptions {
  readonly sim?: SimOptions
  readonly cluster?: Partial<ClusterOptions>
  readonly partitions?: number
}

export const TIME = 1_700_000_000_000

/** A simulated cluster with the topic `t`, and a producer. */
export function setUp(options: ProducerOptions = {}, setUpOptions: SetUpOptions = {}): Parts {
  const sim = new SimCluster(setUpOptions.sim)
  sim.createTopic('t', setUpOptions.partitions ?? 1)
  const cluster = new Cluster(sim.clientOptions(setUpOptions.cluster))
  const context: ProducerContext = {
    cluster,
    clock: sim.clock,
    random: () => sim.random.next(),
    wallClock: () => TIME,
  }
  return { sim, cluster, context, producer: new Producer(options, context) }
}

/** The values in the log of a partition. */
export async function valuesOf(sim: SimCluster, partition = 0, topic = 't'): Promise<(string | null)[]> {
  const values: (string | null)[] = []
  for (const batch of sim.log(topic, partition).batches) {
    if (batch.isControl) continue
    for (const record of await readRecords(batch)) values.push(record.valueText)
  }
  return values
}

export interface Outcome {
  /** Undefined while it is not settled. */
  error?: KafkaError | undefined
  value?: unknown
  /** In virtual time. */
  settledAt?: number
}

/** What becomes of a promise. */
export function watch(sim: SimCluster, promise: Promise<unknown>): Outcome {
  const outcome: Outcome = {}
  promise.then(
    (value) => Object.assign(outcome, { value, settledAt: sim.clock.now() }),
    (error: unknown) => {
      if (!(error instanceof KafkaError)) throw error
      Object.assign(outcome, { error, settledAt: sim.clock.now() })
    },
  )
  return outcome
}

/** What is left of a client after it was closed: nothing (K12). */
export async function nothingLeft({ sim, cluster, producer }: Parts): Promise<readonly [number, number]> {
  await sim.run(producer.close({ deadlineMs: 100 }))
  cluster.close()
  await sim.advance(1_000)
  return [sim.network.open, sim.clock.timers]
}
