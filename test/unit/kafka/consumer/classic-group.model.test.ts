import { describe, expect, it } from 'vitest'
import { seedsOf } from '../schedules.ts'
import { ClassicCoordinator } from './model/classic-coordinator.ts'
import { ClassicModelMember } from './model/classic-model-member.ts'
import type { ClassicGroup } from './model/classic-model-member.ts'
import { RandomGroup } from './model/run-group.ts'
import type { Scenario } from './model/run-group.ts'

class Group extends RandomGroup<ClassicModelMember> implements ClassicGroup {
  readonly coordinator: ClassicCoordinator
  readonly isCooperative: boolean

  constructor(seed: number, isCooperative: boolean, scenario: Scenario) {
    super(seed, scenario, isCooperative ? 'cooperative' : 'eager')
    this.isCooperative = isCooperative
    this.coordinator = new ClassicCoordinator(this.world)
  }

  protected create(name: string, instanceId: string | null): ClassicModelMember {
    return new ClassicModelMember(name, this, ['a', 'b'], instanceId)
  }

  protected instanceOf(member: ClassicModelMember): string | null {
    return member.instanceId
  }

  protected phaseOf(member: ClassicModelMember): string {
    return member.machine.phase
  }
}

describe.each([true, false])('a classic group, cooperative: %s', (isCooperative) => {
  it('keeps K6, K7, K8, K10 and K13 while members crash, freeze and lose requests', () => {
    for (const seed of seedsOf('classicGroup', 0.4))
      new Group(seed, isCooperative, { hasFaults: true, maxWorkMs: 30_000 }).run()
  }, 7_200_000)

  it('repeats nothing while members only come and go', () => {
    for (const seed of seedsOf('classicGroup', 0.1)) {
      const group = new Group(seed, isCooperative, { hasFaults: false, maxWorkMs: 10_000 })
      group.run()
      expect(group.checks.repeated, `seed ${seed}`).toBe(0)
    }
  }, 7_200_000)
})
