import { Producer } from '../../../src/kafka/producer/producer.ts'
import type { ProducerOptions } from '../../../src/kafka/producer/producer-options.ts'
import { KafkaError } from '../../../src/kafka/index.ts'
import type { Consumer, OffsetToCommit } from '../../../src/kafka/index.ts'
import { Cluster } from '../../../src/kafka/cluster/cluster.ts'
import type { ConsumerOptions } from '../../../src/kafka/consumer/consumer-options.ts'
import type { Delivery, SubscriptionSpec, TransportHost } from '../../../src/core/transport.ts'
import { GroupReader } from '../../../src/transports/kafka/consume/group-reader.ts'
import { KafkaSubscription } from '../../../src/transports/kafka/consume/subscription.ts'
import type { KafkaContext } from '../../../src/transports/kafka/context.ts'
import { Reports } from '../../../src/transports/kafka/reports.ts'
import { Mapping } from '../../../src/transports/kafka/wire/mapping.ts'
import { ConsumerSim } from '../kafka/consumer/sim-consumer.ts'

interface Move {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly metadata: string
}

const REFUSED = new KafkaError('not allowed to read t', {
  code: 'TOPIC_AUTHORIZATION_FAILED',
  action: 'fatal',
  outcome: 'rejected',
})

/** A reader of group `g` on a simulated cluster, and one subscription of topic `t`. */
export class ReaderSim {
  readonly sim: ConsumerSim
  readonly handled: Delivery[] = []
  readonly lost: Delivery[] = []
  readonly events: { readonly name: string; readonly value: Record<string, unknown> }[] = []
  moves: Move[] = []
  /** Partitions whose commits the broker refuses for good, as `topic/partition`. */
  readonly refused: Set<string> = new Set()
  /** Where logs end, as far as brokers have said so yet. */
  knownEnd: number | undefined
  readonly context: KafkaContext
  readonly reader: GroupReader
  readonly subscription: KafkaSubscription
  /** Of the same topic and group. */
  readonly another: (other?: Partial<SubscriptionSpec>) => KafkaSubscription

  constructor(
    options: {
      readonly spec?: Partial<SubscriptionSpec>
      readonly protocol?: 'classic' | 'consumer'
      readonly sim?: ConsumerSim
      readonly instanceId?: string
      readonly consumer?: Partial<ConsumerOptions>
      /** Called with what is handed out. */
      readonly receive?: (batch: readonly Delivery[]) => void
    } = {},
  ) {
    const { sim = new ConsumerSim({ brokers: 1 }), instanceId } = options
    this.sim = sim
    const time = sim.clientClock
    const clock = {
      now: () => 1_700_000_000_000 + time.now(),
      monotonic: () => time.now(),
      setTimer: (delayMs: number, fire: () => void) => ({ cancel: time.setTimer(fire, delayMs) }),
    }
    const emit = (name: string, value: Record<string, unknown>) => void this.events.push({ name, value })
    const host = { clock, name: 'main', service: 's', events: { emit } } as unknown as TransportHost
    const client = {
      consumer: (given: object) => this.#consumer(sim.consumer(given)),
      producer: (given: ProducerOptions) => {
        const cluster = new Cluster(sim.clientOptions({ requestTimeoutMs: 5_000 }))
        const context = {
          cluster,
          clock: time,
          random: () => sim.random.next(),
          wallClock: () => Math.trunc(clock.now()),
        }
        return new Producer(given, context)
      },
      admin: () => ({
        offsets: { list: async () => this.moves, alter: async () => {} },
        records: { offsets: async () => [{ partition: 0, offset: 0 }] },
        topics: {
          list: async () => ['t'],
          describe: async (names: readonly string[]) =>
            names.map((name) => ({ name, partitions: Array.from({ length: sim.topic(name).partitions.length }) })),
        },
      }),
    }
    const { protocol = 'classic' } = options
    const context = {
      options: {
        commitIntervalMs: 50,
        revokeTimeoutMs: 20_000,
        consumer: { autoCommit: false, onReset: 'earliest', protocol, instanceId, ...options.consumer },
        reader: { autoCommit: false, onReset: 'earliest' },
        producer: { deliveryTimeoutMs: 30_000 },
        transactionTimeoutMs: 1_000,
      },
      topics: { ensure: async () => {} },
      host,
      client,
      mapping: new Mapping(),
      reports: new Reports(host),
      groupId: (name: string) => name,
    } as unknown as KafkaContext
    this.context = context
    const spec = {
      topic: 't',
      group: 'g',
      order: 'key',
      ephemeral: false,
      from: 'earliest',
      prefetch: 256,
      prefetchBytes: 16_777_216,
      maxPerKey: 64,
      consumerId: 'c',
      ...options.spec,
    } as SubscriptionSpec
    const sink = {
      receive: (batch: readonly Delivery[]) => {
        this.handled.push(...batch)
        options.receive?.(batch)
      },
      lost: (deliveries: readonly Delivery[]) => void this.lost.push(...deliveries),
      recall: () => {},
    }
    this.another = (other) =>
      new KafkaSubscription({
        context,
        spec: { ...spec, ...other },
        sink,
        publish: async () => [],
        onClosed: () => {},
      })
    this.subscription = this.another()
    this.reader = new GroupReader({
      context,
      groupId: spec.ephemeral ? undefined : 'g',
      beginning: () => 0,
      partitionsOf: () => 1,
      ended: () => {},
      recreated: () => {},
    })
  }

  #consumer(consumer: Consumer): Consumer {
    const commit = consumer.commitOffsets.bind(consumer)
    consumer.commitOffsets = async (offsets) => {
      const isRefused = ({ topic, partition }: OffsetToCommit): boolean => this.refused.has(`${topic}/${partition}`)
      const errors = await commit(offsets.filter((each) => !isRefused(each)))
      let at = 0
      return offsets.map((each) => (isRefused(each) ? REFUSED : errors[at++]))
    }
    const places = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(consumer), 'positions')
    const positions = (): Consumer['positions'] => {
      const found = places?.get?.call(consumer) as Consumer['positions']
      return found.map((each) => ({ ...each, end: Math.min(each.end, this.knownEnd ?? Infinity) }))
    }
    Object.defineProperty(consumer, 'positions', { get: positions })
    return consumer
  }

  get values(): string[] {
    return this.handled.map(({ message }) => String(message.body))
  }

  /** Settles what is outstanding. */
  async ackAll(): Promise<void> {
    const batch = this.handled
      .filter((delivery) => !(delivery as unknown as { settled: boolean }).settled && !delivery.lost)
      .map((delivery) => ({ delivery, outcome: { type: 'ack' as const } }))
    const done = this.subscription.settle(batch)
    await this.sim.advance(1_000)
    await done
  }

  warnings(): unknown[] {
    return this.events.filter(({ name }) => name === 'warning').map(({ value }) => value['code'])
  }

  losses(): unknown[] {
    return this.events.filter(({ name }) => name === 'loss').map(({ value }) => value['count'])
  }
}
