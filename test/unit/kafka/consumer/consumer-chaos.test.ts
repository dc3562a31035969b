import { describe, expect, it } from 'vitest'
import type { Consumer } from '../../../../src/kafka/consumer/consumer.ts'
import type { ApiName } from '../../../../src/kafka/protocol/generated/api-types.ts'
import { seededRandom } from '../../../../src/testing/random.ts'
import type { Random } from '../../../../src/testing/random.ts'
import { seedsOf } from '../schedules.ts'
import { networkFaults } from './network-faults.ts'
import { ConsumerSim, numbers } from './sim-consumer.ts'

const PARTITIONS = 5
const ROUNDS = 60

const APIS: readonly ApiName[] = [
  'Fetch',
  'OffsetCommit',
  'OffsetFetch',
  'JoinGroup',
  'SyncGroup',
  'Heartbeat',
  'ConsumerGroupHeartbeat',
  'ListOffsets',
  'Metadata',
  'FindCoordinator',
  'LeaveGroup',
]

/** Real consumers on a simulated cluster whose brokers, connections and leaders fail at random. */
class Chaos {
  readonly sim: ConsumerSim
  readonly #random: Random
  readonly #protocol: 'classic' | 'consumer'
  readonly #consumers = new Set<Consumer>()
  readonly #handled = new Map<number, Set<number>>()
  readonly #appended: number[] = Array.from({ length: PARTITIONS }, () => 0)
  readonly #ends: Promise<unknown>[] = []
  readonly violations: string[] = []

  constructor(seed: number, protocol: 'classic' | 'consumer') {
    this.sim = new ConsumerSim({ brokers: 3, seed })
    this.#random = seededRandom(`consumer chaos ${seed} ${protocol}`)
    this.#protocol = protocol
    this.sim.createTopic('t', PARTITIONS)
  }

  async run(): Promise<void> {
    this.#join()
    for (let round = 0; round < ROUNDS; round++) {
      this.#append()
      this.#disturb()
      await this.sim.advance(this.#random.integer(50, 5_000))
      this.#check()
    }
    this.sim.script.clear()
    this.sim.partition('t', 0).replicas.forEach((broker) => {
      for (let partition = 0; partition < PARTITIONS; partition++)
        this.sim.lagReplica('t', partition, broker, undefined)
    })
    for (const id of [1, 2, 3]) if (!this.sim.broker(id).isUp) this.sim.start(id)
    if (this.#consumers.size === 0) this.#join()
    this.#append()
    await this.sim.advance(200_000)
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const missing = numbers(this.#appended[partition] ?? 0).filter(
        (n) => !this.#handled.get(partition)?.has(Number(n)),
      )
      if (missing.length > 0) this.violations.push(`never handled of ${partition}: ${missing.join()}`)
    }
    // K10: it moves once everything is healthy.
    const since = this.sim.clock.now()
    this.#append()
    await this.sim.advance(10_000)
    for (let partition = 0; partition < PARTITIONS; partition++) {
      if (this.#floor(partition) !== this.#appended[partition]) this.violations.push(`${partition} does not move`)
    }
    // K13.
    const rate = (this.sim.requests.length - this.sim.requests.findIndex(({ at }) => at >= since)) / 10
    if (rate > 60) this.violations.push(`${rate} requests a second at rest`)
    await this.sim.run(Promise.all([...this.#consumers].map((each) => each.close())))
    await this.sim.run(Promise.all(this.#ends))
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const committed = this.sim.committed(partition)
      if (committed !== this.#appended[partition]) this.violations.push(`committed of ${partition}: ${committed}`)
    }
    this.sim.closeClients()
    await this.sim.advance(1_000)
    if (this.sim.clientClock.timers > 0) this.violations.push(`${this.sim.clientClock.timers} timers are left`)
  }

  #join(): void {
    // Some of them read from followers (KIP-392).
    const rack = this.#random.pick([undefined, undefined, 'rack-1', 'rack-2'])
    const consumer = this.sim.consumer({
      protocol: this.#protocol,
      commitIntervalMs: 200,
      onReset: 'earliest',
      ...(rack === undefined ? {} : { rack }),
    })
    this.#consumers.add(consumer)
    const handler = async (
      { offset }: { readonly offset: number },
      context: { readonly partition: number; readonly isLost: boolean },
    ) => {
      const { partition } = context
      const has = () => consumer.assignment.some((each) => each.partition === partition)
      if (!has()) this.violations.push(`K7: ${partition}/${offset} was given to a consumer that has lost it`)
      if (this.#random.chance(0.2)) await this.sim.clock.wait(this.#random.integer(1, 2_000))
      const handled = this.#handled.get(partition) ?? new Set()
      handled.add(offset)
      this.#handled.set(partition, handled)
    }
    const ended = consumer.run({ concurrency: 5, orderBy: 'none', handler }).catch((error: unknown) => {
      this.violations.push(`a consumer has ended: ${String(error)}`)
    })
    this.#ends.push(ended)
  }

  #append(): void {
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const count = this.#random.integer(0, 8)
      if (count === 0) continue
      this.sim.append('t', partition, numbers(count, this.#appended[partition]))
      this.#appended[partition] = (this.#appended[partition] ?? 0) + count
    }
  }

  #disturb(): void {
    const { sim } = this
    const random = this.#random
    const up = [1, 2, 3].filter((id) => sim.broker(id).isUp)
    const dice = random.next()
    if (dice < 0.15 && this.#consumers.size < 4) this.#join()
    else if (dice < 0.25 && this.#consumers.size > 1) this.#close(random.pick([...this.#consumers]))
    else if (dice < 0.35 && up.length > 1) sim.kill(random.pick(up))
    else if (dice < 0.5) for (const id of [1, 2, 3]) if (!sim.broker(id).isUp) sim.start(id)
    if (dice >= 0.5 && dice < 0.6) sim.moveLeader('t', random.integer(0, PARTITIONS - 1), random.pick(up))
    else if (dice < 0.65) sim.coordinators.move('group', 'g', random.pick(up))
    else if (dice < 0.7) void sim.freeze(random.pick(up), random.integer(100, 20_000))
    else if (dice < 0.85) this.#lag(random.integer(0, PARTITIONS - 1), random.pick(up))
    for (const api of APIS) {
      if (random.chance(0.15)) sim.script.on(api, random.integer(1, 3), this.#fault(api))
    }
  }

  /** A follower falls behind, or has caught up. */
  #lag(partition: number, broker: number): void {
    const { endOffset } = this.sim.log('t', partition)
    const behind = this.#random.chance(0.5) ? Math.max(0, endOffset - this.#random.integer(0, 10)) : undefined
    this.sim.lagReplica('t', partition, broker, behind)
  }

  #fault(api: ApiName) {
    const random = this.#random
    const code = api === 'Fetch' ? random.pick([6, 74, 75, 3, 56]) : random.pick([14, 15, 16])
    return random.pick([
      ...networkFaults(random),
      ...(['Metadata', 'FindCoordinator', 'ListOffsets'].includes(api) ? [] : [{ do: 'error', code } as const]),
    ])
  }

  #close(consumer: Consumer): void {
    this.#consumers.delete(consumer)
    this.#ends.push(consumer.close())
  }

  #floor(partition: number): number {
    const handled = this.#handled.get(partition)
    let floor = 0
    while (handled?.has(floor) === true) floor++
    return floor
  }

  #check(): void {
    const holders = new Map<number, number>()
    for (const consumer of this.#consumers) {
      for (const { partition } of consumer.assignment) holders.set(partition, (holders.get(partition) ?? 0) + 1)
    }
    for (const [partition, count] of holders) if (count > 1) this.violations.push(`K8: ${count} have ${partition}`)
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const committed = this.sim.committed(partition) ?? 0
      if (committed > this.#floor(partition)) this.violations.push(`K6: ${partition} is committed up to ${committed}`)
    }
  }
}

describe.each(['classic', 'consumer'] as const)('consumers of a %s group', (protocol) => {
  it('lose nothing while brokers, connections and leaders fail', async () => {
    for (const seed of seedsOf('consumer', 0.5)) {
      const chaos = new Chaos(seed, protocol)
      await chaos.run()
      expect([...new Set(chaos.violations)], `seed ${seed}`).toEqual([])
    }
  }, 7_200_000)
})
