import { expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import type { Random } from 'busbar/testing'
import { CALM, GroupSimulation, LATEST_LEASES, SimulatedMember, STORM } from './group-simulation.ts'
import { ModelGroup } from './model-group.ts'

const LEASE_MS = 3_000
const HANDOVER_MS = 1_000
/** Clocks run at speeds that differ by up to that part, in both directions. */
const SKEW = 0.01
const TOPICS = new Map([
  ['orders', 8],
  ['payments', 3],
  ['audit', 1],
])

/** One random run of a group against a server. */
class Run {
  readonly random: Random
  readonly simulation: GroupSimulation
  readonly server: ModelGroup
  readonly notifies: boolean
  members: SimulatedMember[] = []
  readonly all: SimulatedMember[] = []
  readonly violations: string[] = []
  #count = 0

  constructor(seed: string) {
    this.random = seededRandom(seed)
    this.simulation = new GroupSimulation(this.random)
    this.server = new ModelGroup(this.simulation, LEASE_MS, this.random.chance(0.5))
    this.notifies = this.random.chance(0.5)
    this.server.onChange = (ids) => this.#notify(ids)
    this.simulation.onEvent = () => this.#check()
  }

  add(): SimulatedMember {
    const id = `m${String(this.random.integer(0, 999)).padStart(3, '0')}-${this.#count++}`
    const member = new SimulatedMember(this.simulation, {
      id,
      rate: 1 + (this.random.next() * 2 - 1) * SKEW,
      holder: { leaseMs: LEASE_MS, handoverTimeoutMs: HANDOVER_MS },
      driver: (process) => this.server.driver(process, id),
      stuck: 0.2,
    })
    this.members.push(member)
    this.all.push(member)
    for (const [topic, partitions] of TOPICS) this.#quietly(member.holder.consume(topic, partitions))
    return member
  }

  async end(member: SimulatedMember): Promise<void> {
    this.members = this.members.filter((other) => other !== member)
    await member.holder.leave()
  }

  crash(member: SimulatedMember): void {
    this.members = this.members.filter((other) => other !== member)
    member.process.isAlive = false
  }

  /** One random thing that happens to a group. */
  act(): void {
    const { random, simulation } = this
    const dice = random.integer(0, 99)
    const member = this.members.length > 0 ? random.pick(this.members) : undefined
    if (member === undefined || (dice < 20 && this.members.length < 7)) this.add()
    else if (dice < 30) this.#quietly(this.end(member))
    else if (dice < 45) this.crash(member)
    else if (dice < 60) member.process.frozenUntil = simulation.now + random.integer(100, 4 * LEASE_MS)
    else if (dice < 75) this.#cut(member, random.integer(50, 3 * LEASE_MS))
    else if (dice < 85) member.holder.setPaused(random.pick([...TOPICS.keys()]), random.chance(0.5))
    else if (dice < 88) this.server.forget()
    else simulation.weather = random.chance(0.7) ? STORM : CALM
  }

  #cut(member: SimulatedMember, ms: number): void {
    const { process, holder } = member
    process.isCut = true
    const isNoticed = this.random.chance(0.5)
    if (isNoticed) holder.down()
    this.simulation.at(ms, process, () => {
      process.isCut = false
      if (isNoticed) holder.up()
    })
  }

  /** Everything is well again. */
  calm(): void {
    this.simulation.weather = CALM
    for (const { process, holder } of this.members) {
      process.frozenUntil = -Infinity
      process.isCut = false
      holder.up()
      for (const topic of TOPICS.keys()) holder.setPaused(topic, false)
    }
  }

  #notify(ids: readonly string[] | 'all'): void {
    if (!this.notifies) return
    for (const { id, process, holder } of this.members)
      if (ids === 'all' || ids.includes(id)) this.simulation.at(1, process, () => !process.isCut && holder.wake())
  }

  /** No partition has two holders at any moment, not even by the view of a frozen process that wakes up. */
  #check(): void {
    const holders = new Map<string, string>()
    for (const { id, process, holder, violations } of this.all) {
      this.violations.push(...violations.splice(0))
      if (!process.isAlive) continue
      for (const { topic, partition } of holder.partitions) {
        if (!holder.holds(topic, partition)) continue
        const key = `${topic}/${partition}`
        const other = holders.get(key)
        if (other !== undefined) this.violations.push(`${this.simulation.now}: ${key} is held by ${other} and ${id}`)
        holders.set(key, id)
      }
    }
  }

  /** Every partition is read by one member, and shares are even. */
  problems(): string[] {
    const problems: string[] = []
    const loads = new Map(this.members.map(({ id }) => [id, 0]))
    for (const [topic, count] of TOPICS) {
      const perTopic = new Map(this.members.map(({ id }) => [id, 0]))
      for (let partition = 0; partition < count; partition++) {
        const readers = this.members.filter(({ holder }) => holder.mayStart(topic, partition))
        if (readers.length !== 1) problems.push(`${topic}/${partition} has ${readers.length} readers`)
        for (const { id, holder } of readers) {
          loads.set(id, (loads.get(id) as number) + 1)
          perTopic.set(id, (perTopic.get(id) as number) + 1)
          const generation = holder.generationOf(topic, partition) as number
          if (!this.server.settle(id, topic, partition, generation))
            problems.push(`${id} can't settle ${topic}/${partition}`)
        }
      }
      if (isUneven(perTopic.values())) problems.push(`uneven: ${topic} ${JSON.stringify([...perTopic])}`)
    }
    if (isUneven(loads.values())) problems.push(`uneven: ${JSON.stringify([...loads])}`)
    return problems
  }

  #quietly(work: Promise<unknown>): void {
    work.catch((error: unknown) => this.violations.push(`rejected: ${String(error)}`))
  }
}

function isUneven(counts: Iterable<number>): boolean {
  const all = [...counts]
  return all.length > 0 && Math.max(...all) - Math.min(...all) > 1
}

const SEEDS = Number(process.env['BUSBAR_MODEL_RUNS'] ?? 60)

it.each(Array.from({ length: SEEDS }, (_, index) => `partitions-${index}`))(
  'has one holder for each partition whatever happens (%s)',
  async (seed) => {
    const run = new Run(seed)
    for (let members = run.random.integer(1, 3); members > 0; members--) run.add()
    for (let actions = 0; actions < 25; actions++) {
      await run.simulation.run(run.random.integer(10, LEASE_MS / 2))
      run.act()
    }
    run.calm()
    if (run.members.length === 0) run.add()
    // The last requests of dead processes arrive.
    await run.simulation.run(LATEST_LEASES * LEASE_MS)
    // A dead member is fenced a lease after it was seen first; two deaths in a row are found one after the other.
    await run.simulation.run(4 * LEASE_MS + 2 * HANDOVER_MS)
    expect(run.violations).toEqual([])
    expect(run.problems()).toEqual([])
    const before = run.all.map(({ rebalances }) => rebalances.length)
    await run.simulation.run(2 * LEASE_MS)
    expect(run.problems()).toEqual([])
    expect(
      run.all.map(({ rebalances }) => rebalances.length),
      'nothing moves in a calm group',
    ).toEqual(before)
  },
)
