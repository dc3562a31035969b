import { Cluster } from '../../../../src/kafka/cluster/cluster.ts'
import { Consumer } from '../../../../src/kafka/consumer/consumer.ts'
import type { ConsumerOptions } from '../../../../src/kafka/consumer/consumer-options.ts'
import { ShareConsumer } from '../../../../src/kafka/consumer/share/share-consumer.ts'
import type { ShareConsumerOptions } from '../../../../src/kafka/consumer/share/share-options.ts'
import type { ApiName } from '../../../../src/kafka/protocol/generated/api-types.ts'
import { batchOf } from '../sim/batch.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import type { SimOptions } from '../sim/sim-cluster.ts'

/** A simulated cluster, and consumers on it. */
export class ConsumerSim extends SimCluster {
  readonly #clusters: Cluster[] = []

  constructor(options: SimOptions = {}) {
    super(options)
  }

  /** Of group `g`, for topic `t`. */
  consumer(options: Partial<ConsumerOptions> = {}): Consumer {
    const cluster = new Cluster(this.clientOptions())
    this.#clusters.push(cluster)
    const context = { cluster, clock: this.clientClock, random: () => this.random.next() }
    return new Consumer(context, { topics: ['t'], group: 'g', ...options })
  }

  /** A member of share group `g`, for topic `t`. */
  shareConsumer(options: Partial<ShareConsumerOptions> = {}): ShareConsumer {
    const cluster = new Cluster(this.clientOptions())
    this.#clusters.push(cluster)
    const context = { cluster, clock: this.clientClock, random: () => this.random.next() }
    return new ShareConsumer(context, { topics: ['t'], group: 'g', ...options })
  }

  append(topic: string, partition: number, values: readonly string[]): void {
    const { epoch } = this.partition(topic, partition)
    this.log(topic, partition).append(batchOf(values), epoch)
    this.appended()
  }

  /** How often brokers were asked. */
  count(api: ApiName, since = 0): number {
    return this.requests.filter((request) => request.api === api && request.at >= since).length
  }

  committed(partition: number, topic = 't'): number | undefined {
    return this.groups.offsets('g').get(topic, partition)?.offset
  }

  closeClients(): void {
    for (const cluster of this.#clusters.splice(0)) cluster.close()
  }
}

export function numbers(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, index) => String(from + index))
}

/** Reads until `count` records have come; what it was given is finished. */
export async function read(consumer: Consumer, count: number): Promise<string[]> {
  const values: string[] = []
  while (values.length < count) {
    const { value: batch } = await consumer.next()
    if (batch === undefined) break
    for (const record of batch) values.push(`${batch.partition}:${record.valueText}`)
    batch.done()
  }
  return values
}
