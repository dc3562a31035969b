import { describe, expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import type { Random } from 'busbar/testing'
import { PublishError } from '../../../src/core/errors.ts'
import { NO_HEADERS } from '../../../src/core/message.ts'
import type { OutgoingMessage } from '../../../src/core/message.ts'
import type { Delivery } from '../../../src/core/transport.ts'
import type { ApiName } from '../../../src/kafka/protocol/generated/api-types.ts'
import { readControlRecord } from '../../../src/kafka/records/control-record.ts'
import { readRecords } from '../../../src/kafka/records/read-records.ts'
import { seedsOf } from '../kafka/schedules.ts'
import { networkFaults } from '../kafka/consumer/network-faults.ts'
import { ConsumerSim } from '../kafka/consumer/sim-consumer.ts'
import { ReaderSim } from './reader-sim.ts'

const PARTITIONS = 3
/** Within so long after the last fault, everything that was published is handled and committed. */
const RECOVERED_MS = 10_000
/** Where requests were lost or late, too: none is waited for longer than this, but several in turn may be. */
const REQUEST_MS = 5_000

const APIS: readonly ApiName[] = [
  'Produce',
  'EndTxn',
  'TxnOffsetCommit',
  'AddPartitionsToTxn',
  'AddOffsetsToTxn',
  'InitProducerId',
  'OffsetFetch',
  'OffsetCommit',
  'Fetch',
  'JoinGroup',
  'SyncGroup',
  'Heartbeat',
  'ConsumerGroupHeartbeat',
  'FindCoordinator',
  'Metadata',
]
const AT_ONCE = 4

function output(value: string): OutgoingMessage {
  return {
    id: `out-${value}`,
    topic: 'out',
    type: 'out',
    source: 's',
    time: 1_700_000_000_000,
    key: undefined,
    contentType: 'text/plain',
    headers: NO_HEADERS,
    body: Buffer.from(value),
  } as unknown as OutgoingMessage
}

/** A member that handles inputs, each with one output, in transactions, as the runtime does. */
class Chain {
  readonly sim: ConsumerSim
  readonly world: ReaderSim
  readonly #queue: Delivery[] = []
  #running = 0
  #published = 0
  handled = 0

  constructor(seed: number, protocol: 'classic' | 'consumer', version: 1 | 2) {
    const features = { 'transaction.version': version, 'group.version': 1 }
    this.sim = new ConsumerSim({ brokers: 1, seed, features })
    const options = this.sim.clientOptions.bind(this.sim)
    this.sim.clientOptions = (changes) => options({ requestTimeoutMs: REQUEST_MS, ...changes })
    this.sim.createTopic('t', PARTITIONS)
    this.sim.createTopic('out', PARTITIONS)
    this.world = new ReaderSim({
      sim: this.sim,
      protocol,
      spec: { prefetch: 32 },
      consumer: { sessionTimeoutMs: 2_000, heartbeatIntervalMs: 150, rebalanceTimeoutMs: 6_000 },
      receive: (batch) => {
        this.#queue.push(...batch)
        this.#next()
      },
    })
  }

  publish(count: number): void {
    for (let at = 0; at < count; at++, this.#published++)
      this.sim.append('t', this.#published % PARTITIONS, [String(this.#published)])
  }

  #next(): void {
    while (this.#running < AT_ONCE) {
      const delivery = this.#queue.shift()
      if (delivery === undefined) return
      if (delivery.lost) {
        this.world.subscription.request(1, delivery.bytes)
        continue
      }
      this.#running++
      void this.#handle(delivery)
    }
  }

  async #handle(delivery: Delivery): Promise<void> {
    await this.sim.clock.wait(2)
    this.#running--
    this.#next()
    const value = String(delivery.message.body)
    for (let tries = 0; ; tries++) {
      const outcome = { type: 'ack', publish: [output(value)] } as const
      const [failure] = await this.world.subscription.settle([{ delivery, outcome }])
      if (failure === undefined) this.handled++
      if (!PublishError.is(failure?.error)) break
      await this.sim.clock.wait(Math.min(30_000, 200 * 2 ** tries))
    }
    this.world.subscription.request(1, delivery.bytes)
  }

  /** All connections end at once. */
  cut(): void {
    this.sim.broker(1).stop()
    this.sim.broker(1).start(this.sim.broker(1).host, this.sim.broker(1).port)
  }

  get lag(): number {
    let lag = 0
    for (let index = 0; index < PARTITIONS; index++)
      lag += this.sim.log('t', index).endOffset - (this.sim.committed(index) ?? 0)
    return lag
  }

  /** Values that are committed. */
  async outputs(): Promise<string[]> {
    const seen: string[] = []
    for (let index = 0; index < PARTITIONS; index++) {
      const open = new Map<bigint, string[]>()
      for (const batch of this.sim.log('out', index).batches) {
        const records = await readRecords(batch)
        const pending = open.get(batch.producerId) ?? []
        if (batch.isControl) {
          const [marker] = records
          if (marker !== undefined && readControlRecord(marker).type === 'commit') seen.push(...pending)
          open.delete(batch.producerId)
        } else open.set(batch.producerId, [...pending, ...records.map(({ valueText }) => valueText ?? '')])
      }
    }
    return seen
  }

  get inputs(): string[] {
    return Array.from({ length: this.#published }, (_, at) => String(at))
  }
}

/** Inputs come while connections are cut; `disturb` is called before each step. Resolves when all is handled and committed, or after `limitMs`. */
async function cutAtRandom(chain: Chain, random: Random, limitMs: number, disturb = () => {}): Promise<void> {
  const { sim, world } = chain
  void world.reader.join([world.subscription])
  world.subscription.request(32, 1_000_000)
  chain.publish(30)
  await sim.advance(10_000)
  const cuts = random.integer(1, 4)
  for (let cut = 0; cut < cuts; cut++) {
    for (let step = 0; step < 20; step++) {
      chain.publish(3)
      disturb()
      await sim.advance(random.integer(1, 12))
    }
    chain.cut()
    await sim.advance(random.integer(0, 3_000))
  }
  sim.script.clear()
  for (let ms = 0; ms < limitMs && chain.lag > 0; ms += 100) await sim.advance(100)
}

async function expectOneOutputEach(chain: Chain): Promise<void> {
  const errors = chain.world.events.filter(({ name }) => name === 'error')
  expect(chain.lag, JSON.stringify(errors)).toBe(0)
  const outputs = await chain.outputs()
  expect(outputs.toSorted((a, b) => Number(a) - Number(b))).toEqual(chain.inputs)
  await chain.sim.run(chain.world.subscription.close())
}

describe.each([
  ['classic', 2],
  ['consumer', 2],
  ['classic', 1],
] as const)('exactly once in a %s group with transactions of version %i', (protocol, version) => {
  it.each([...seedsOf('exactlyOnce')])('goes on when connections are cut (seed %i)', async (seed) => {
    const chain = new Chain(seed, protocol, version)
    await cutAtRandom(chain, seededRandom(`exactly once ${seed} ${protocol} ${version}`), RECOVERED_MS)
    await expectOneOutputEach(chain)
  })

  it('goes on within seconds when it is not known what became of a transaction', async () => {
    const chain = new Chain(1, protocol, version)
    const { sim, world } = chain
    void world.reader.join([world.subscription])
    world.subscription.request(32, 1_000_000)
    chain.publish(30)
    await sim.advance(10_000)
    sim.script.on('EndTxn', 1, { do: 'drop' })
    chain.publish(3)
    await sim.advance(RECOVERED_MS)
    expect(world.events.map(({ value }) => value['doing'])).toContain('committing a transaction of group "g"')
    await expectOneOutputEach(chain)
  })

  // With 117 the group takes a member back by its name and epoch, while a transaction of before is on its way.
  it.each([117, ...seedsOf('exactlyOnce')])('is kept when requests are lost or late, too (seed %i)', async (seed) => {
    const chain = new Chain(seed, protocol, version)
    const random = seededRandom(`exactly once ${seed} ${protocol} ${version}`)
    await cutAtRandom(chain, random, 10 * RECOVERED_MS, () => {
      if (!random.chance(0.4)) return
      const [api, nth] = [APIS[random.integer(0, APIS.length)], random.integer(1, 4)]
      const fault = networkFaults(random)[random.integer(0, 7)]
      if (api !== undefined && fault !== undefined) chain.sim.script.on(api, nth, fault)
    })
    await expectOneOutputEach(chain)
  })
})
