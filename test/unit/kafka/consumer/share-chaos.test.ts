import { describe, expect, it } from 'vitest'
import type { ShareConsumer } from '../../../../src/kafka/consumer/share/share-consumer.ts'
import type { ShareRecord } from '../../../../src/kafka/consumer/share/share-record.ts'
import type { ApiName } from '../../../../src/kafka/protocol/generated/api-types.ts'
import { seededRandom } from '../../../../src/testing/random.ts'
import type { Random } from '../../../../src/testing/random.ts'
import { seedsOf } from '../schedules.ts'
import { networkFaults } from './network-faults.ts'
import { ConsumerSim, numbers } from './sim-consumer.ts'

const PARTITIONS = 3
const ROUNDS = 40
const BROKERS = [1, 2, 3]

const APIS: readonly ApiName[] = [
  'ShareFetch',
  'ShareFetch',
  'ShareAcknowledge',
  'ShareAcknowledge',
  'ShareGroupHeartbeat',
  'Metadata',
  'FindCoordinator',
]

/** Real share consumers on a simulated cluster whose brokers, connections, sessions and leaders fail at random. */
class ShareChaos {
  readonly violations: string[] = []
  readonly #sim: ConsumerSim
  readonly #random: Random
  readonly #topicId: string
  readonly #consumers = new Set<ShareConsumer>()
  readonly #ends: Promise<unknown>[] = []
  readonly #appended = numbers(PARTITIONS).map(() => 0)
  #isCalm = false
  readonly #accepted = new Set<string>()
  readonly #rejected = new Set<string>()

  constructor(seed: number) {
    this.#sim = new ConsumerSim({ brokers: BROKERS.length, seed })
    this.#random = seededRandom(`share chaos ${seed}`)
    this.#topicId = this.#sim.createTopic('t', PARTITIONS).id
  }

  async run(): Promise<void> {
    const sim = this.#sim
    this.#join()
    for (let round = 0; round < ROUNDS; round++) {
      this.#append()
      this.#disturb()
      await sim.advance(this.#random.integer(20, 4_000))
    }
    sim.script.clear()
    this.#isCalm = true
    for (const id of BROKERS) if (!sim.broker(id).isUp) sim.start(id)
    if (this.#consumers.size === 0) this.#join()
    await sim.advance(120_000)
    this.#append()
    await sim.advance(10_000)
    this.#checkStates()
    // K13.
    const since = sim.clock.now()
    await sim.advance(10_000)
    const rate = (sim.requests.length - sim.requests.findIndex(({ at }) => at >= since)) / 10
    if (rate > 20 * this.#consumers.size) this.violations.push(`K13: ${rate} requests a second at rest`)
    await sim.run(Promise.all([...this.#consumers].map((each) => each.close())))
    await sim.run(Promise.all(this.#ends))
    sim.closeClients()
    await sim.advance(1_000)
    if (sim.clientClock.timers > 0) this.violations.push(`K12: ${sim.clientClock.timers} timers are left`)
  }

  #join(): void {
    const consumer = this.#sim.shareConsumer({ maxUndecided: this.#random.pick([5, 50, 500]) })
    this.#consumers.add(consumer)
    const ended = consumer.run({
      concurrency: this.#random.pick([1, 10, 100]),
      handler: (record) => this.#handle(record),
      onError: () => {},
    })
    this.#ends.push(
      ended.catch((error: unknown) => void this.violations.push(`a consumer has ended: ${String(error)}`)),
    )
  }

  async #handle(record: ShareRecord): Promise<void> {
    const random = this.#random
    const key = `${record.partition}/${record.offset}`
    if (!this.#isCalm && random.chance(0.3))
      await this.#sim.clock.wait(random.integer(1, random.pick([100, 5_000, 40_000])))
    const dice = random.next()
    if (dice < 0.1) throw new Error('mine')
    const counts = dice < 0.15 ? record.release() : dice < 0.2 ? record.reject() : record.accept()
    if (counts && record.verdict === 'accept') this.#accepted.add(key)
    if (counts && record.verdict === 'reject') this.#rejected.add(key)
  }

  #append(): void {
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const count = this.#random.integer(0, 12)
      if (count === 0) continue
      this.#sim.append('t', partition, numbers(count, this.#appended[partition]))
      this.#appended[partition] = (this.#appended[partition] ?? 0) + count
    }
  }

  #disturb(): void {
    const sim = this.#sim
    const random = this.#random
    const up = BROKERS.filter((id) => sim.broker(id).isUp)
    const dice = random.next()
    if (dice < 0.15 && this.#consumers.size < 4) this.#join()
    else if (dice < 0.25 && this.#consumers.size > 1) this.#close(random.pick([...this.#consumers]))
    else if (dice < 0.35 && up.length > 1) sim.kill(random.pick(up))
    else if (dice < 0.5) for (const id of BROKERS) if (!sim.broker(id).isUp) sim.start(id)
    if (dice >= 0.5 && dice < 0.6) sim.moveLeader('t', random.integer(0, PARTITIONS - 1), random.pick(up))
    else if (dice < 0.65) sim.coordinators.move('group', 'g', random.pick(up))
    else if (dice < 0.7) void sim.freeze(random.pick(up), random.integer(100, 40_000))
    else if (dice < 0.75) sim.shares.evictSessions()
    else if (dice < 0.8) sim.shares.group('g').fence(random.pick(sim.shares.group('g').members.concat('')))
    for (const api of APIS) {
      if (random.chance(0.15)) sim.script.on(api, random.integer(1, 3), random.pick(networkFaults(random)))
    }
  }

  #close(consumer: ShareConsumer): void {
    this.#consumers.delete(consumer)
    this.#ends.push(consumer.close())
  }

  /** Every record has come to an end, for a reason. */
  #checkStates(): void {
    const { deliveryLimit } = this.#sim.shares.group('g')
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const states = this.#sim.shares.group('g').partition(this.#topicId, partition)
      for (let offset = 0; offset < (this.#appended[partition] ?? 0); offset++) {
        const key = `${partition}/${offset}`
        const state = states.stateOf(offset, this.#sim.clock.now())
        if (state === 'acknowledged' && !this.#accepted.has(key)) this.violations.push(`${key} was accepted by nobody`)
        if (state === 'archived' && !this.#rejected.has(key) && states.countOf(offset) < deliveryLimit)
          this.violations.push(`${key} was dropped after ${states.countOf(offset)} deliveries`)
        if (state === 'available' || state === 'acquired') this.violations.push(`K10: ${key} is ${state}`)
      }
    }
  }
}

describe('consumers of a share group', () => {
  it('bring every record to an end while brokers, sessions and leaders fail', async () => {
    for (const seed of seedsOf('shareConsumer')) {
      const chaos = new ShareChaos(seed)
      await chaos.run()
      expect([...new Set(chaos.violations)], `seed ${seed}`).toEqual([])
    }
  }, 7_200_000)
})
