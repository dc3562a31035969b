import type { AttemptNote, Delivery, Outcome, SubscriptionSpec, TransportHost } from '../../../src/core/transport.ts'
import { createAdmin } from '../../../src/kafka/admin/admin.ts'
import { Cluster } from '../../../src/kafka/cluster/cluster.ts'
import { Consumer } from '../../../src/kafka/consumer/consumer.ts'
import type { Clock } from '../../../src/kafka/network/clock.ts'
import type { OpenSocket } from '../../../src/kafka/network/sockets.ts'
import { Producer } from '../../../src/kafka/producer/producer.ts'
import type { ConsumerOptions, ProducerOptions, RecordContent } from '../../../src/kafka/index.ts'
import { GroupReader } from '../../../src/transports/kafka/consume/group-reader.ts'
import { KafkaSubscription } from '../../../src/transports/kafka/consume/subscription.ts'
import type { KafkaContext } from '../../../src/transports/kafka/context.ts'
import { decodeRecord, emptyRecord, encodeRecord } from '../../../src/transports/kafka/partitions/commit-record.ts'
import { Reports } from '../../../src/transports/kafka/reports.ts'
import { Topics } from '../../../src/transports/kafka/topology/topics.ts'
import { Mapping } from '../../../src/transports/kafka/wire/mapping.ts'
import { ConsumerSim } from '../kafka/consumer/sim-consumer.ts'

const START = 1_700_000_000_000
const RETRY_TOPIC = 't.g.retry'

/** One handling of a message, by any process. */
export interface Handling {
  readonly by: string
  readonly value: string
  readonly attempt: number
  /** In ms of virtual time. */
  readonly at: number
  readonly position: unknown
  readonly partition: string | undefined
}

/** What a handler does with a message. */
export type Handler = (value: string, attempt: number) => Outcome

/** Processes of group `g` that read topic `t` of a simulated cluster, with the real client and the real reader. */
export class RetryWorld {
  readonly sim: ConsumerSim
  readonly handled: Handling[] = []
  readonly processes: ReaderProcess[] = []
  handler: Handler = () => ({ type: 'ack' })
  /** Why no topic can be made. */
  refused: Error | undefined
  /** The option; undefined as it is by default. */
  retryTopics: boolean | undefined = true

  constructor(options: { readonly seed?: number; readonly partitions?: number } = {}) {
    this.sim = new ConsumerSim({ brokers: 1, seed: options.seed ?? 1 })
    this.sim.createTopic('t', options.partitions ?? 1)
  }

  get now(): number {
    return START + this.sim.clientClock.now()
  }

  async start(name: string, spec: Partial<SubscriptionSpec> = {}): Promise<ReaderProcess> {
    const process = new ReaderProcess(this, name, spec)
    this.processes.push(process)
    await this.sim.run(process.join())
    return process
  }

  /** Advances until it is so; fails after `limitMs`. */
  async until(isSo: () => boolean, limitMs = 600_000): Promise<void> {
    for (let passed = 0; !isSo(); passed += 100) {
      if (passed >= limitMs) throw new Error(`not so after ${limitMs} ms`)
      await this.sim.advance(100)
    }
  }

  /** Publishes messages without keys, perhaps with a time of delivery. */
  async publish(
    values: readonly string[],
    options: { readonly deliverAt?: number; readonly partition?: number } = {},
  ): Promise<void> {
    const { deliverAt, partition = 0 } = options
    await this.#send(values.map((value) => recordOf(value, partition, deliverAt)))
  }

  /** By value, to partition 0. */
  async publishDelayed(dueAt: ReadonlyMap<string, number>): Promise<void> {
    await this.#send([...dueAt].map(([value, deliverAt]) => recordOf(value, 0, deliverAt)))
  }

  /** As `admin.seek` does with a group that has members. */
  async seek(offset: number): Promise<void> {
    const record = { ...emptyRecord(offset), moved: this.now + 1 }
    const place = { topic: 't', partition: 0, offset, metadata: encodeRecord(record) }
    const cluster = new Cluster(this.sim.clientOptions())
    await this.sim.run(createAdmin(cluster).offsets.alter('g.busbar-moves', [place]))
  }

  async #send(records: readonly RecordContent[]): Promise<void> {
    const producer = this.producer()
    await this.sim.run(producer.sendMany('t', records))
    await this.sim.run(producer.close())
  }

  producer(options: ProducerOptions = {}): Producer {
    const cluster = new Cluster(this.sim.clientOptions())
    return new Producer(options, { cluster, clock: this.sim.clientClock, random: () => this.sim.random.next() })
  }

  /** How often each value was handled. */
  counts(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>()
    for (const { value } of this.handled) counts.set(value, (counts.get(value) ?? 0) + 1)
    return counts
  }

  valuesOf(by?: string): string[] {
    return this.handled.filter((each) => by === undefined || each.by === by).map(({ value }) => value)
  }

  get hasRetryTopic(): boolean {
    return this.sim.topics.named(RETRY_TOPIC) !== undefined
  }

  /** What the group has committed of a log. */
  metadata(topic = 't', partition = 0): string {
    return this.sim.groups.offsets('g').get(topic, partition)?.metadata ?? ''
  }

  committed(topic = 't', partition = 0): number | undefined {
    return this.sim.groups.offsets('g').get(topic, partition)?.offset
  }

  /** How many records of a log the group has not finished, markers of transactions aside. */
  unfinished(topic: string, partition: number): number {
    const floor = this.committed(topic, partition) ?? 0
    const record = decodeRecord(this.metadata(topic, partition), floor)
    const open = record?.open.reduce((sum, [first, last]) => sum + last - first + 1, 0) ?? 0
    const { log } = this.sim.partition(topic, partition)
    const to = Math.max(record?.to ?? 0, floor)
    const aborted = log.abortedWithin(to, log.endOffset)
    const beyond = log.batches.filter(
      ({ lastOffset, isControl, baseOffset, producerId }) =>
        lastOffset >= to &&
        !isControl &&
        !aborted.some(
          (each) => each.producerId === producerId && baseOffset >= each.firstOffset && baseOffset < each.lastOffset,
        ),
    )
    return open + beyond.reduce((sum, { lastOffset, baseOffset }) => sum + lastOffset - Math.max(to, baseOffset) + 1, 0)
  }
}

function recordOf(value: string, partition: number, deliverAt: number | undefined): RecordContent {
  const headers = [
    { key: 'ce_specversion', value: '1.0' },
    { key: 'ce_id', value: `id-${value}` },
    ...(deliverAt === undefined ? [] : [{ key: 'busbar-deliver-at', value: String(deliverAt) }]),
  ]
  return { key: null, value, partition, headers }
}

/** One process: its client, its reader, and a consumer that handles what comes at once. */
export class ReaderProcess {
  readonly name: string
  readonly #world: RetryWorld
  readonly reader: GroupReader
  readonly subscription: KafkaSubscription
  readonly events: { readonly name: string; readonly value: Record<string, unknown> }[] = []
  readonly context: KafkaContext
  /** What happens to it while it is stopped. */
  #waiting: (() => void)[] | undefined
  isClosed = false

  constructor(world: RetryWorld, name: string, spec: Partial<SubscriptionSpec>) {
    this.#world = world
    this.name = name
    const { sim } = world
    const time: Clock = {
      now: () => sim.clientClock.now(),
      setTimer: (run, delayMs) => sim.clientClock.setTimer(() => this.#happens(run), delayMs),
    }
    const clock = {
      now: () => START + time.now(),
      monotonic: () => time.now(),
      setTimer: (delayMs: number, fire: () => void) => ({ cancel: time.setTimer(fire, delayMs) }),
    }
    const openSocket: OpenSocket = (address, handlers) =>
      sim.network.openSocket(address, {
        connected: () => this.#happens(() => handlers.connected()),
        received: (chunk) => {
          // Its memory is used again after the call.
          const kept = this.isFrozen ? Buffer.from(chunk) : chunk
          this.#happens(() => handlers.received(kept))
        },
        room: () => undefined,
        closed: (error) => this.#happens(() => handlers.closed(error)),
      })
    const emit = (event: string, value: Record<string, unknown>) => void this.events.push({ name: event, value })
    const host = { clock, name: 'main', service: 's', events: { emit } } as unknown as TransportHost
    const newCluster = (): Cluster => new Cluster(sim.clientOptions({ clock: time, openSocket }))
    const parts = () => ({ cluster: newCluster(), clock: time, random: () => sim.random.next() })
    const admin = createAdmin(newCluster())
    const client = {
      consumer: (given: ConsumerOptions) => new Consumer(parts(), given),
      producer: (given: ProducerOptions) => new Producer(given, parts()),
      admin: () => ({
        offsets: admin.offsets,
        records: {
          offsets: (...given: Parameters<typeof admin.records.offsets>) => admin.records.offsets(...given),
          read: (...given: Parameters<typeof admin.records.read>) => admin.records.read(...given),
          deleteBefore: async (topic: string, offsets: Record<number, number>) => {
            for (const [partition, offset] of Object.entries(offsets))
              sim.log(topic, Number(partition)).deleteBefore(offset)
            return []
          },
        },
        topics: {
          describe: (names: readonly string[]) => admin.topics.describe(names),
          list: () => admin.topics.list(),
          create: async (topics: readonly { name: string; partitions: number }[]) => {
            if (world.refused !== undefined) throw world.refused
            for (const { name: topic, partitions } of topics) sim.createTopic(topic, partitions)
          },
          addPartitions: async (counts: Record<string, number>) => {
            for (const [topic, count] of Object.entries(counts)) sim.addPartitions(topic, count)
          },
        },
      }),
    }
    const reports = new Reports(host)
    const options = {
      commitIntervalMs: 50,
      revokeTimeoutMs: 20_000,
      maxMessageBytes: 1_000_000,
      createTopics: true,
      retryTopics: world.retryTopics,
      topicConfigs: {},
      partitions: [],
      transactionTimeoutMs: 10_000,
      producer: {},
      consumer: { autoCommit: false, onReset: 'earliest', sessionTimeoutMs: 10_000 },
      reader: { autoCommit: false, onReset: 'earliest' },
    }
    const context = { options, host, client, mapping: new Mapping(), reports } as unknown as KafkaContext
    Object.assign(context, {
      topics: new Topics(options as never, client as never, reports),
      groupId: (given: string) => given,
    })
    this.context = context
    this.subscription = new KafkaSubscription({
      context,
      spec: {
        topic: 't',
        group: 'g',
        order: 'none',
        ephemeral: false,
        from: 'earliest',
        prefetch: 256,
        prefetchBytes: 16_777_216,
        maxPerKey: 64,
        consumerId: name,
        ...spec,
      },
      sink: { receive: (batch) => void this.#receive(batch), lost: () => {}, recall: () => {} },
      publish: async () => [],
      onClosed: () => {},
    })
    this.reader = new GroupReader({
      context,
      groupId: 'g',
      beginning: () => 0,
      partitionsOf: (topic) => sim.topic(topic).partitions.length,
      ended: () => {},
      recreated: () => {},
    })
  }

  async join(): Promise<void> {
    await this.reader.join([this.subscription])
    this.subscription.request(256, 16_777_216)
    await this.reader.whenReading([this.subscription])
  }

  /** SIGSTOP: nothing happens in it from now on, and nobody is told. Without `thaw`, it is dead. */
  freeze(): void {
    this.#waiting ??= []
  }

  get isFrozen(): boolean {
    return this.#waiting !== undefined
  }

  /** SIGCONT: what has happened meanwhile happens now. */
  thaw(): void {
    const waiting = this.#waiting ?? []
    this.#waiting = undefined
    for (const run of waiting) run()
  }

  #happens(run: () => void): void {
    if (this.#waiting === undefined) run()
    else this.#waiting.push(run)
  }

  close(): Promise<void> {
    this.isClosed = true
    return this.subscription.close()
  }

  warnings(): unknown[] {
    return this.events.filter(({ name }) => name === 'warning').map(({ value }) => value['code'])
  }

  errors(): unknown[] {
    return this.events.filter(({ name }) => name === 'error').map(({ value }) => String(value['error']))
  }

  async #receive(batch: readonly Delivery[]): Promise<void> {
    const notes: AttemptNote[] = []
    for (const delivery of batch)
      if (delivery.history === 'unknown' || delivery.history === 'died')
        notes.push({ delivery, used: delivery.attempt, running: true, notBefore: undefined })
    if (notes.length > 0) await this.subscription.noteAttempts(notes).catch(() => {})
    const settlements = batch
      .filter(({ lost }) => !lost)
      .map((delivery) => {
        const value = String(delivery.message.body)
        const { attempt, position, partition } = delivery
        this.#world.handled.push({ by: this.name, value, attempt, at: this.#world.now, position, partition })
        return { delivery, outcome: this.#world.handler(value, attempt) }
      })
    await this.subscription.settle(settlements)
    this.subscription.request(
      batch.length,
      batch.reduce((sum, { bytes }) => sum + bytes, 0),
    )
  }
}
