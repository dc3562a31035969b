import { expect } from 'vitest'
import { Cluster } from '../../../../src/kafka/cluster/cluster.ts'
import type { ClusterOptions } from '../../../../src/kafka/cluster/cluster-options.ts'
import type { Consumer } from '../../../../src/kafka/consumer/consumer.ts'
import { Producer } from '../../../../src/kafka/producer/producer.ts'
import type { ProducerOptions } from '../../../../src/kafka/producer/producer-options.ts'
import { ConsumerSim } from '../consumer/sim-consumer.ts'
import type { SimOptions } from '../sim/sim-cluster.ts'

/** A simulated cluster with the topic `t`, its clients, and what they leave behind. */
export class PainWorld extends ConsumerSim {
  readonly #producers: Producer[] = []
  readonly #connected: Cluster[] = []
  readonly #running: { readonly consumer: Consumer; readonly ended: Promise<void> }[] = []

  constructor(partitions: number, options: SimOptions = {}) {
    super(options)
    this.createTopic('t', partitions)
  }

  connect(changes: Partial<ClusterOptions> = {}): Cluster {
    const cluster = new Cluster(this.clientOptions(changes))
    this.#connected.push(cluster)
    return cluster
  }

  producer(options: ProducerOptions = {}, changes: Partial<ClusterOptions> = {}): Producer {
    const context = { cluster: this.connect(changes), clock: this.clientClock, random: () => this.random.next() }
    const producer = new Producer(options, context)
    this.#producers.push(producer)
    return producer
  }

  /** Runs a consumer; the values that its handler was given, by partition. */
  consume(consumer: Consumer, handlerMs: () => number = () => 0, concurrency = 1): Map<number, string[]> {
    const seen = new Map<number, string[]>()
    const ended = consumer.run({
      concurrency,
      handler: (record, { partition }) => {
        seen.set(partition, [...(seen.get(partition) ?? []), record.valueText ?? ''])
        const ms = handlerMs()
        return ms > 0 ? this.clock.wait(ms) : undefined
      },
    })
    this.#running.push({ consumer, ended })
    return seen
  }

  /** Closes everything; nothing may be left (K12), and no run may have failed. */
  async end(): Promise<void> {
    await this.run(Promise.all(this.#running.map(({ consumer }) => consumer.close())))
    await this.run(Promise.all(this.#running.map(({ ended }) => ended)))
    await this.run(Promise.all(this.#producers.map((producer) => producer.close({ deadlineMs: 5_000 }))))
    for (const cluster of this.#connected) cluster.close()
    this.closeClients()
    await this.advance(1_000)
    expect([this.network.open, this.clientClock.timers]).toEqual([0, 0])
  }
}
