import { describe, expect, it } from 'vitest'
import { seedsOf } from '../schedules.ts'
import { NextCoordinator } from './model/next-coordinator.ts'
import { NextModelMember } from './model/next-model-member.ts'
import type { NextGroup } from './model/next-model-member.ts'
import { RandomGroup } from './model/run-group.ts'
import type { Scenario } from './model/run-group.ts'

class Group extends RandomGroup<NextModelMember> implements NextGroup {
  readonly coordinator: NextCoordinator

  constructor(seed: number, scenario: Scenario) {
    super(seed, scenario, 'next')
    this.coordinator = new NextCoordinator(this.world, this.topics)
  }

  protected create(name: string, instanceId: string | null): NextModelMember {
    return new NextModelMember(name, this, instanceId)
  }

  protected instanceOf(member: NextModelMember): string | null {
    return member.instanceId
  }

  protected phaseOf(member: NextModelMember): string {
    return member.machine.phase
  }
}

describe('a KIP-848 group', () => {
  it('keeps K6, K7, K8, K10 and K13 while members crash, freeze and lose requests', () => {
    for (const seed of seedsOf('nextGroup', 0.75)) new Group(seed, { hasFaults: true, maxWorkMs: 30_000 }).run()
  }, 7_200_000)

  it('repeats nothing while members only come and go', () => {
    for (const seed of seedsOf('nextGroup', 0.25)) {
      const group = new Group(seed, { hasFaults: false, maxWorkMs: 10_000 })
      group.run()
      expect(group.checks.repeated, `seed ${seed}`).toBe(0)
    }
  }, 7_200_000)
})
