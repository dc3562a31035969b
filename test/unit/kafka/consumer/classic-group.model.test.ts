import { describe, expect, it } from 'vitest'
import type { TopicInfo } from '../../../../src/kafka/consumer/assignors/assignor.ts'
import { PartitionSet } from '../../../../src/kafka/consumer/partition-set.ts'
import { Checks } from './model/checks.ts'
import { ClassicCoordinator } from './model/classic-coordinator.ts'
import { ClassicModelMember } from './model/classic-model-member.ts'
import type { ClassicGroup } from './model/classic-model-member.ts'
import { NO_FAULTS, World } from './model/world.ts'

const SEEDS = Number(process.env['BUSBAR_KAFKA_SEEDS'] ?? 40)
const CHAOS_MS = 240_000
/** A dead member's session, then the longest rebalance that another can hold up, and some more. */
const HEAL_MS = 45_000 + 2 * 60_000 + 10_000
const TOPICS = ['a', 'b']

interface Scenario {
  readonly isCooperative: boolean
  readonly hasFaults: boolean
  readonly maxWorkMs: number
}

class Group implements ClassicGroup {
  readonly world: World
  readonly checks = new Checks()
  readonly coordinator: ClassicCoordinator
  readonly topics = new Map<string, TopicInfo>([
    ['a', { partitions: 4 }],
    ['b', { partitions: 3 }],
  ])
  readonly isCooperative: boolean
  readonly maxWorkMs: number
  readonly hasFaults: boolean
  members: ClassicModelMember[] = []
  #names = 0

  constructor(seed: number, { isCooperative, hasFaults, maxWorkMs }: Scenario) {
    this.world = new World(`${seed} ${isCooperative} ${hasFaults} ${maxWorkMs}`)
    this.isCooperative = isCooperative
    this.hasFaults = hasFaults
    this.maxWorkMs = maxWorkMs
    this.coordinator = new ClassicCoordinator(this.world)
    this.coordinator.onCommit = (...commit) => this.checks.committed(...commit)
    this.#everySecond()
  }

  get committed() {
    return this.coordinator.committed
  }

  get alive(): readonly ClassicModelMember[] {
    return this.members.filter((member) => member.isAlive && !member.isClosing)
  }

  join(instanceId: string | null = null): void {
    const member = new ClassicModelMember(`n${this.#names++}`, this, TOPICS, instanceId)
    this.members.push(member)
    member.start()
  }

  change(): void {
    const { random } = this.world
    const dice = random.next()
    const victim = this.alive.length > 0 ? random.pick(this.alive) : undefined
    if (victim === undefined || (dice < 0.35 && this.alive.length < 5)) this.join()
    else if (dice < 0.55) victim.close()
    else if (!this.hasFaults) return
    else if (dice < 0.7) victim.kill()
    else if (dice < 0.85) victim.freeze(random.integer(1_000, 90_000))
    else this.#restartStatic(victim)
  }

  #restartStatic(victim: ClassicModelMember): void {
    victim.kill()
    this.join(victim.instanceId ?? `i${this.#names}`)
  }

  #everySecond(): void {
    this.coordinator.tick()
    this.world.after(250, () => this.#everySecond())
  }

  /** What keeps the group from being settled. */
  unsettled(): readonly string[] {
    const problems: string[] = []
    const owned = new PartitionSet()
    for (const member of this.alive) {
      if (member.machine.phase !== 'stable') problems.push(`${member.name} is ${member.machine.phase}`)
      for (const { topic, partition } of member.machine.owned) {
        if (!owned.add(topic, partition)) problems.push(`two have ${topic}/${partition}`)
      }
    }
    if (owned.size !== 7) problems.push(`${owned.size} of 7 partitions are owned`)
    return problems
  }
}

function run(seed: number, scenario: Scenario): Group {
  const group = new Group(seed, scenario)
  const { world } = group
  if (scenario.hasFaults) world.faults = { loss: 0.03, slow: 0.05 }
  for (let member = world.random.integer(1, 3); member > 0; member--) group.join()
  for (let end = 0; end < CHAOS_MS; ) {
    end += world.random.integer(2_000, 30_000)
    world.runUntil(end)
    group.change()
  }
  world.faults = NO_FAULTS
  if (group.alive.length === 0) group.join()
  const chaosRequests = world.requests
  world.runUntil(world.now + HEAL_MS + 90_000)
  expect(group.unsettled(), `seed ${seed}`).toEqual([])
  expect(chaosRequests / (CHAOS_MS / 1_000), `requests per second, seed ${seed}`).toBeLessThan(5 * 20)
  // K10: once it is healthy, everything moves, and nobody rebalances again.
  const { rebalances } = group.coordinator
  const before = new Map(group.committed)
  world.runUntil(world.now + Math.max(10_000, 5 * scenario.maxWorkMs))
  for (const key of ['a/0', 'a/1', 'a/2', 'a/3', 'b/0', 'b/1', 'b/2']) {
    expect(group.committed.get(key) ?? 0, `${key} moves, seed ${seed}`).toBeGreaterThan(before.get(key) ?? 0)
  }
  expect(group.coordinator.rebalances, `seed ${seed}`).toBe(rebalances)
  expect(group.checks.violations, `seed ${seed}`).toEqual([])
  return group
}

describe.each([true, false])('a classic group, cooperative: %s', (isCooperative) => {
  it(`keeps K6, K7, K8 and K10 while members crash, freeze and lose requests (${SEEDS} schedules)`, () => {
    for (let seed = 0; seed < SEEDS; seed++) run(seed, { isCooperative, hasFaults: true, maxWorkMs: 30_000 })
  }, 600_000)

  it('repeats nothing while members only come and go', () => {
    for (let seed = 0; seed < SEEDS / 3; seed++) {
      expect(run(seed, { isCooperative, hasFaults: false, maxWorkMs: 10_000 }).checks.repeated, `seed ${seed}`).toBe(0)
    }
  }, 600_000)
})
