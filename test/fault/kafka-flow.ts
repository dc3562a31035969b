import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import type { ClusterOptions } from '../../src/kafka/cluster/cluster-options.ts'
import { Consumer } from '../../src/kafka/consumer/consumer.ts'
import type { ConsumerOptions } from '../../src/kafka/consumer/consumer-options.ts'
import type { KafkaError } from '../../src/kafka/errors.ts'
import { systemClock } from '../../src/kafka/network/clock.ts'
import { Producer } from '../../src/kafka/producer/producer.ts'
import type { ProducerOptions } from '../../src/kafka/producer/producer-options.ts'
import { waitFor } from '../../tools/brokers/index.ts'
import { readValues } from '../integration/kafka-reader.ts'
import { account } from './kafka-flow-report.ts'
import type { FlowReport, Outcome } from './kafka-flow-report.ts'
import { StallWatch } from './stall-watch.ts'

export interface FlowOptions {
  readonly topic: string
  /** @default 6 */
  readonly partitions?: number
  readonly client: ClusterOptions
  readonly producer?: ProducerOptions
  readonly consumer?: Partial<ConsumerOptions>
  /** Records in each second. @default 600 */
  readonly perSecond?: number
  /** How long a handler takes. In milliseconds. @default not at all */
  readonly handlerMs?: () => number
}

const TICK_MS = 10
const KEYS = 60

/** A steady flow of numbered records through all partitions of a topic: one producer, and the members of one group. */
export class KafkaFlow {
  readonly topic: string
  readonly group: string
  readonly cluster: Cluster
  readonly producer: Producer
  readonly outcomes: Map<number, Outcome> = new Map()
  /** Times, by id. */
  readonly handled: Map<number, number> = new Map()
  /** Times, by id, in the log at the end. */
  readonly logged: Map<number, number> = new Map()
  /** What has ended or rejected though it should not have. */
  readonly problems: string[] = []
  /** Records go to so many partitions. */
  partitions: number
  readonly #options: FlowOptions
  readonly #produceStalls = new StallWatch()
  readonly #consumeStalls = new StallWatch()
  readonly #settling: Promise<void>[] = []
  /** By partition and key. */
  readonly #lastHandled = new Map<string, number>()
  readonly #members = new Map<Consumer, { readonly cluster: Cluster; readonly ended: Promise<void> }>()
  #sending: Promise<unknown> | undefined
  #isOver = false
  #next = 0
  #reordered = 0

  constructor(options: FlowOptions) {
    this.#options = options
    this.topic = options.topic
    this.group = `${options.topic}-group`
    this.partitions = options.partitions ?? 6
    this.cluster = new Cluster(options.client)
    this.producer = new Producer(options.producer ?? {}, { cluster: this.cluster })
  }

  /** Records so far. */
  get sent(): number {
    return this.#next
  }

  get members(): readonly Consumer[] {
    return [...this.#members.keys()]
  }

  async createTopic(replicationFactor = 3): Promise<void> {
    const topic = { name: this.topic, numPartitions: this.partitions, replicationFactor, assignments: [], configs: [] }
    await this.cluster.sendToAny('CreateTopics', { topics: [topic], validateOnly: false, timeoutMs: 10_000 })
  }

  /** Begins to send. Resolves when `members` consumers have handled some of it. */
  async start(members: number): Promise<void> {
    void this.send()
    for (let count = 0; count < members; count++) this.join()
    await this.progress(200, 60_000)
    this.healthy()
  }

  /** A consumer of the group that the caller reads from. */
  reader(options: Partial<ConsumerOptions> = {}, cluster: Cluster = this.cluster): Consumer {
    return new Consumer(
      { cluster, clock: systemClock, random: Math.random },
      { topics: [this.topic], group: this.group, ...this.#options.consumer, ...options },
    )
  }

  join(options: Partial<ConsumerOptions> = {}): Consumer {
    const cluster = new Cluster(this.#options.client)
    const consumer = this.reader(options, cluster)
    const { handlerMs } = this.#options
    const ended = consumer.run({
      concurrency: 20,
      handler: async (record, { partition }) => {
        const pause = handlerMs?.() ?? 0
        if (pause > 0) await cluster.pause(pause)
        this.#handle(partition, Number(record.valueText))
      },
    })
    const watched = ended.catch((error: unknown) => void this.problems.push(`a consumer has ended: ${String(error)}`))
    this.#members.set(consumer, { cluster, ended: watched })
    return consumer
  }

  async leave(consumer: Consumer): Promise<void> {
    const member = this.#members.get(consumer)
    this.#members.delete(consumer)
    await consumer.close()
    await member?.ended
    member?.cluster.close()
  }

  trouble(): void {
    this.#produceStalls.trouble()
    this.#consumeStalls.trouble()
  }

  healthy(): void {
    this.#produceStalls.healthy()
    this.#consumeStalls.healthy()
  }

  /** Until so many more records are handled; rejects when that takes too long. */
  async progress(count: number, timeoutMs: number): Promise<void> {
    const goal = this.handled.size + count
    if ((await waitFor(() => this.handled.size >= goal, { timeoutMs })) === true) return
    throw new Error(
      `${this.topic}: ${goal - this.handled.size} of ${count} records were not handled in ${timeoutMs} ms`,
    )
  }

  /** Nothing more is sent. Resolves when every record is settled. */
  async stopSending(): Promise<void> {
    this.#isOver = true
    await this.#sending
    for (let partition = 0; partition < this.partitions; partition++) this.#produceStalls.end(String(partition))
    await Promise.all(this.#settling)
  }

  /** Ends everything, and counts. */
  async finish(): Promise<FlowReport> {
    await this.stopSending()
    const isDone = () => [...this.outcomes].every(([id, outcome]) => outcome !== 'confirmed' || this.handled.has(id))
    const hasEnded = await waitFor(isDone, { timeoutMs: 30_000, intervalMs: 50 })
    // What is not handled by now is counted as that.
    if (hasEnded === true) {
      for (let partition = 0; partition < this.partitions; partition++) this.#consumeStalls.end(String(partition))
    }
    await Promise.all(this.members.map((member) => this.leave(member)))
    const report = await this.#report()
    await this.producer.close()
    this.cluster.close()
    return report
  }

  /** Ends what is left after a failure. */
  async abandon(): Promise<void> {
    this.#isOver = true
    await this.producer.close({ deadlineMs: 0 })
    await this.#sending
    for (const { cluster } of this.#members.values()) cluster.close()
    this.cluster.close()
  }

  /** Until it is stopped. */
  send(): Promise<unknown> {
    this.#sending = this.#send()
    return this.#sending
  }

  async #send(): Promise<void> {
    const start = performance.now()
    const { perSecond = 600 } = this.#options
    const tick = (): boolean => {
      const due = ((performance.now() - start) * perSecond) / 1_000
      while (this.#next < due && !this.#isOver) this.#sendOne()
      return this.#isOver
    }
    await waitFor(tick, { timeoutMs: 3_600_000, intervalMs: TICK_MS })
  }

  #sendOne(): void {
    const id = this.#next++
    const partition = id % this.partitions
    const sent = this.producer.send({ topic: this.topic, key: `k${id % KEYS}`, value: String(id), partition })
    const settled = sent.then(
      () => {
        this.outcomes.set(id, 'confirmed')
        this.#produceStalls.progressed(String(partition))
      },
      (error: KafkaError) => void this.outcomes.set(id, error.outcome),
    )
    this.#settling.push(settled)
  }

  #handle(partition: number, id: number): void {
    const times = this.handled.get(id) ?? 0
    this.handled.set(id, times + 1)
    this.#consumeStalls.progressed(String(partition))
    if (times > 0) return
    // Handlers of different keys may end in any order.
    const key = `${partition}/${id % KEYS}`
    if (id < (this.#lastHandled.get(key) ?? -1)) this.#reordered++
    this.#lastHandled.set(key, id)
  }

  async #report(): Promise<FlowReport> {
    for (let partition = 0; partition < this.partitions; partition++) {
      let last = -1
      for (const value of await readValues(this.cluster, this.topic, 1, partition)) {
        const id = Number(value)
        this.logged.set(id, (this.logged.get(id) ?? 0) + 1)
        if (id < last) this.#reordered++
        last = Math.max(last, id)
      }
    }
    return {
      ...account(this),
      reordered: this.#reordered,
      produceStallMs: Math.round(this.#produceStalls.longestMs),
      consumeStallMs: Math.round(this.#consumeStalls.longestMs),
      producePauseP99Ms: Math.round(this.#produceStalls.p99Ms),
    }
  }
}
