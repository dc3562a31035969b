import { cooperativeStickyAssignor, stickyAssignor } from '../../../../../src/kafka/consumer/assignors/sticky.ts'
import type { Assignor, TopicInfos } from '../../../../../src/kafka/consumer/assignors/assignor.ts'
import { ClassicMember } from '../../../../../src/kafka/consumer/classic/classic-member.ts'
import type { ClassicRequest } from '../../../../../src/kafka/consumer/classic/classic-member.ts'
import { assignmentsOf, subscriptionFor } from '../../../../../src/kafka/consumer/classic/leader.ts'
import type { CommitRequest } from '../../../../../src/kafka/consumer/offsets/commit-pipeline.ts'
import { PartitionSet } from '../../../../../src/kafka/consumer/partition-set.ts'
import { decodeAssignment } from '../../../../../src/kafka/protocol/embedded.ts'
import type { ClassicCoordinator } from './classic-coordinator.ts'
import { WorkingMember } from './working-member.ts'
import type { ModelGroup } from './working-member.ts'
import { lostConnection } from './world.ts'

export interface ClassicGroup extends ModelGroup {
  readonly coordinator: ClassicCoordinator
  readonly topics: TopicInfos
  readonly isCooperative: boolean
}

export const SETTINGS = {
  groupId: 'g',
  sessionTimeoutMs: 45_000,
  rebalanceTimeoutMs: 60_000,
  heartbeatIntervalMs: 3_000,
}

export class ClassicModelMember extends WorkingMember {
  readonly machine: ClassicMember
  readonly #classic: ClassicGroup
  readonly #instanceId: string | null
  readonly #assignor: Assignor
  topics: readonly string[]
  #last = new PartitionSet()

  constructor(name: string, group: ClassicGroup, topics: readonly string[], instanceId: string | null) {
    super(name, group)
    this.#classic = group
    this.#instanceId = instanceId
    this.topics = topics
    this.#assignor = group.isCooperative ? cooperativeStickyAssignor : stickyAssignor
    const { world } = group
    this.machine = new ClassicMember(
      { ...SETTINGS, isCooperative: group.isCooperative },
      {
        ...this.effects(),
        send: (request) => this.#send(request),
        abandon: (request) =>
          world.after(0, () => this.enter(() => this.machine.failed(request, lostConnection(), world.now))),
        assign: (joined) =>
          world.after(world.random.integer(0, 100), () =>
            this.enter(() =>
              this.machine.assigned(joined, assignmentsOf(this.#assignor, joined, group.topics), world.now),
            ),
          ),
      },
      () => world.random.next(),
    )
  }

  get memberId(): string {
    return this.machine.memberId
  }

  get isStatic(): boolean {
    return this.#instanceId !== null
  }

  get instanceId(): string | null {
    return this.#instanceId
  }

  protected sendCommit(request: CommitRequest): void {
    const { world, coordinator } = this.#classic
    world.exchange<number>(
      (answer) => answer(coordinator.commit(request, this.#instanceId)),
      (code) => this.enter(() => this.commits.answered(request, () => code, world.now)),
      (error) => this.enter(() => this.commits.failed(request, error, world.now)),
      this.channel,
    )
  }

  protected leave(): void {
    const { world, coordinator } = this.#classic
    const identity = this.machine.leave()
    if (identity === undefined || this.#instanceId !== null) return
    world.exchange<undefined>(
      (answer) => {
        coordinator.leave(identity.memberId)
        answer(undefined)
      },
      () => {},
      () => {},
    )
  }

  #send(request: ClassicRequest): void {
    const { world, coordinator } = this.#classic
    const failed = (error: ReturnType<typeof lostConnection>) =>
      this.enter(() => this.machine.failed(request, error, world.now))
    if (request.type === 'join') {
      const { owned, generation } = request
      const last = this.#last
      const metadata = subscriptionFor(this.#assignor, { topics: this.topics, rack: null, owned, last, generation })
      const input = { ...SETTINGS, request, instanceId: this.#instanceId, metadata }
      world.exchange<[number, Parameters<ClassicMember['joinAnswered']>[2]]>(
        (answer) => coordinator.join(input, (code, joined) => answer([code, joined])),
        ([code, joined]) => this.enter(() => this.machine.joinAnswered(request, code, joined, world.now)),
        failed,
      )
    } else if (request.type === 'sync') {
      world.exchange<[number, Uint8Array]>(
        (answer) => coordinator.sync(request, this.#instanceId, (code, assignment) => answer([code, assignment])),
        ([code, bytes]) =>
          this.enter(() => {
            const assignment = PartitionSet.fromTopics(decodeAssignment(Buffer.from(bytes)).assignedPartitions)
            this.#last = assignment
            this.machine.syncAnswered(request, code, assignment, world.now)
          }),
        failed,
      )
    } else {
      world.exchange<number>(
        (answer) => answer(coordinator.heartbeat(request, this.#instanceId)),
        (code) => this.enter(() => this.machine.heartbeatAnswered(request, code, world.now)),
        failed,
        this.channel,
      )
    }
  }
}
