import { expect } from 'vitest'
import type { TopicInfo } from '../../../../../src/kafka/consumer/assignors/assignor.ts'
import { PartitionSet } from '../../../../../src/kafka/consumer/partition-set.ts'
import { Checks } from './checks.ts'
import type { ModelGroup, WorkingMember } from './working-member.ts'
import { NO_FAULTS, World } from './world.ts'

const CHAOS_MS = 240_000
/** A dead member's session, then the longest rebalance that another can hold up, twice, and some more. */
const HEAL_MS = 45_000 + 2 * 60_000 + 100_000

export interface Scenario {
  readonly hasFaults: boolean
  readonly maxWorkMs: number
}

export interface ModelCoordinator {
  readonly rebalances: number
  readonly committed: ReadonlyMap<string, number>
  onCommit: (memberId: string, topic: string, partition: number, offset: number) => void
  tick(): void
}

/** Members that come, go, crash, freeze and lose requests, and what must hold afterwards. */
export abstract class RandomGroup<Member extends WorkingMember> implements ModelGroup {
  readonly world: World
  readonly checks: Checks = new Checks()
  readonly topics: ReadonlyMap<string, TopicInfo> = new Map([
    ['a', { partitions: 4 }],
    ['b', { partitions: 3 }],
  ])
  readonly maxWorkMs: number
  readonly #seed: string
  readonly #hasFaults: boolean
  readonly #members: Member[] = []
  #names = 0

  constructor(seed: number, { hasFaults, maxWorkMs }: Scenario, kind: string) {
    this.#seed = `seed ${seed} ${kind}`
    this.world = new World(`${seed} ${kind} ${hasFaults} ${maxWorkMs}`)
    this.#hasFaults = hasFaults
    this.maxWorkMs = maxWorkMs
  }

  abstract readonly coordinator: ModelCoordinator
  protected abstract create(name: string, instanceId: string | null): Member
  protected abstract instanceOf(member: Member): string | null
  protected abstract phaseOf(member: Member): string

  get committed(): ReadonlyMap<string, number> {
    return this.coordinator.committed
  }

  run(): void {
    const { world } = this
    this.coordinator.onCommit = (...commit) => this.checks.committed(...commit)
    this.#tick()
    if (this.#hasFaults) world.faults = { loss: 0.03, slow: 0.05 }
    for (let member = world.random.integer(1, 3); member > 0; member--) this.#join(null)
    for (let end = 0; end < CHAOS_MS;) {
      end += world.random.integer(2_000, 30_000)
      world.runUntil(end)
      this.#change()
    }
    world.faults = NO_FAULTS
    // Those that are left may be static ones whose former process has not been given up yet, and end.
    this.#join(null)
    // K13: whatever is answered.
    expect(world.requests / (CHAOS_MS / 1_000), `requests per second, ${this.#seed}`).toBeLessThan(5 * 20)
    world.runUntil(world.now + HEAL_MS)
    expect(this.#unsettled(), this.#seed).toEqual([])
    this.#expectProgress()
    expect(this.checks.violations, this.#seed).toEqual([])
  }

  /** K10: once it is healthy, everything moves, and the group does not rebalance again. */
  #expectProgress(): void {
    const { rebalances } = this.coordinator
    const before = new Map(this.committed)
    this.world.runUntil(this.world.now + Math.max(10_000, 5 * this.maxWorkMs))
    for (const key of ['a/0', 'a/1', 'a/2', 'a/3', 'b/0', 'b/1', 'b/2']) {
      expect(this.committed.get(key) ?? 0, `${key} moves, ${this.#seed}`).toBeGreaterThan(before.get(key) ?? 0)
    }
    expect(this.coordinator.rebalances, this.#seed).toBe(rebalances)
  }

  get #alive(): readonly Member[] {
    return this.#members.filter((member) => member.isAlive && !member.isClosing)
  }

  #join(instanceId: string | null): void {
    const member = this.create(`n${this.#names++}`, instanceId)
    this.#members.push(member)
    member.start()
  }

  #change(): void {
    const { random } = this.world
    const alive = this.#alive
    const dice = random.next()
    if (alive.length === 0 || (dice < 0.35 && alive.length < 5)) return this.#join(null)
    const victim = random.pick(alive)
    if (dice < 0.55) victim.close()
    else if (!this.#hasFaults) return
    else if (dice < 0.7) victim.kill()
    else if (dice < 0.85) victim.freeze(random.integer(1_000, 90_000))
    else {
      victim.kill()
      this.#join(this.instanceOf(victim) ?? `i${this.#names}`)
    }
  }

  #tick(): void {
    this.coordinator.tick()
    this.world.after(250, () => this.#tick())
  }

  /** What keeps the group from being settled. */
  #unsettled(): readonly string[] {
    const problems: string[] = []
    const owned = new PartitionSet()
    for (const member of this.#alive) {
      if (this.phaseOf(member) !== 'stable') problems.push(`${member.name} is ${this.phaseOf(member)}`)
      for (const { topic, partition } of member.machine.owned) {
        if (!owned.add(topic, partition)) problems.push(`two have ${topic}/${partition}`)
      }
    }
    if (owned.size !== 7) problems.push(`${owned.size} of 7 partitions are owned`)
    return problems
  }
}
