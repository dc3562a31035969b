import type { CommitRequest } from '../../../../../src/kafka/consumer/offsets/commit-pipeline.ts'
import { NextMember } from '../../../../../src/kafka/consumer/next/next-member.ts'
import type { NextAnswer, NextRequest } from '../../../../../src/kafka/consumer/next/next-member.ts'
import type { NextCoordinator } from './next-coordinator.ts'
import { WorkingMember } from './working-member.ts'
import type { ModelGroup } from './working-member.ts'
import { lostConnection } from './world.ts'

export interface NextGroup extends ModelGroup {
  readonly coordinator: NextCoordinator
}

export class NextModelMember extends WorkingMember {
  readonly machine: NextMember
  readonly instanceId: string | null
  readonly #next: NextGroup

  constructor(name: string, group: NextGroup, instanceId: string | null) {
    super(name, group)
    this.#next = group
    this.instanceId = instanceId
    const { world } = group
    let ids = 0
    const settings = {
      groupId: 'g',
      isStatic: instanceId !== null,
      sessionTimeoutMs: 45_000,
      rebalanceTimeoutMs: 60_000,
      heartbeatIntervalMs: 3_000,
      newMemberId: () => `${name}-${ids++}`,
    }
    const fail = (request: NextRequest) => this.machine.failed(request, lostConnection(), world.now)
    this.machine = new NextMember(
      settings,
      {
        ...this.effects(),
        send: (request) => this.#send(request),
        abandon: (request) => world.after(0, () => this.enter(() => fail(request))),
      },
      () => world.random.next(),
    )
  }

  get memberId(): string {
    return this.machine.memberId
  }

  protected sendCommit(request: CommitRequest): void {
    const { world, coordinator } = this.#next
    world.exchange<number>(
      (answer) => answer(coordinator.commit(request)),
      (code) => this.enter(() => this.commits.answered(request, () => code, world.now)),
      (error) => this.enter(() => this.commits.failed(request, error, world.now)),
      this.channel,
    )
  }

  protected leave(): void {
    const { world, coordinator } = this.#next
    const identity = this.machine.leave()
    if (identity === undefined) return
    world.exchange<undefined>(
      (answer) => {
        coordinator.leave(identity.memberId, identity.epoch)
        answer(undefined)
      },
      () => {},
      () => {},
    )
  }

  #send(request: NextRequest): void {
    const { world, coordinator } = this.#next
    world.exchange<NextAnswer>(
      (answer) => answer(coordinator.heartbeat(request, this.instanceId)),
      (answer) => this.enter(() => this.machine.answered(request, answer, world.now)),
      (error) => this.enter(() => this.machine.failed(request, error, world.now)),
      this.channel,
    )
  }
}
