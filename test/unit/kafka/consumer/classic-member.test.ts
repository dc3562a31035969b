import { describe, expect, it } from 'vitest'
import { ClassicMember } from '../../../../src/kafka/consumer/classic/classic-member.ts'
import type { ClassicRequest, Joined } from '../../../../src/kafka/consumer/classic/classic-member.ts'
import { CODE } from '../../../../src/kafka/consumer/group-errors.ts'
import type { PartitionSet } from '../../../../src/kafka/consumer/partition-set.ts'
import { LOST, MemberHarness, set } from './member-harness.ts'

const SETTINGS = { groupId: 'g', sessionTimeoutMs: 45_000, rebalanceTimeoutMs: 60_000, heartbeatIntervalMs: 3_000 }

class Harness extends MemberHarness<ClassicRequest, ClassicMember> {
  constructor(isCooperative = true) {
    super((effects, events) => {
      const assign = () => void events.push('assign')
      return new ClassicMember({ ...SETTINGS, isCooperative }, { ...effects, assign }, () => 0.5)
    })
  }

  joined(generation: number, errorCode: number = CODE.none, members?: Joined['members']): void {
    const joined = { memberId: 'm', generation, protocol: 'p', members }
    this.member.joinAnswered(this.last, errorCode, joined, this.now)
  }

  synced(assignment: PartitionSet, errorCode: number = CODE.none): void {
    this.member.syncAnswered(this.last, errorCode, assignment, this.now)
  }

  beat(errorCode: number = CODE.none): void {
    this.pass(3_100)
    expect(this.last.type).toBe('heartbeat')
    this.member.heartbeatAnswered(this.last, errorCode, this.now)
  }

  /** Answers heartbeats at once, as long as it's to go on. */
  answerFor(ms: number, errorCode: number, goesOn: () => boolean = () => true): void {
    for (const end = this.now + ms; this.now < end && goesOn();) {
      this.pass(100)
      if (this.last.type === 'heartbeat') this.member.heartbeatAnswered(this.last, errorCode, this.now)
    }
  }

  stable(...partitions: readonly number[]): this {
    this.member.start(this.now)
    this.joined(1)
    this.synced(set(...partitions))
    this.events.length = 0
    return this
  }
}

describe('a member of a classic group', () => {
  it('unjoined: joins, with the id that it is given; then syncs and has partitions', () => {
    const harness = new Harness()
    harness.member.start(0)
    harness.joined(-1, CODE.memberIdRequired)
    expect(harness.last).toMatchObject({ type: 'join', memberId: 'm' })
    harness.joined(1)
    expect(harness.last).toMatchObject({ type: 'sync', generation: 1, assignments: [] })
    expect(harness.member.identity).toBeUndefined()
    harness.synced(set(0, 1))
    expect(harness.events).toEqual(['assigned 0,1'])
    expect(harness.member.identity).toEqual({ memberId: 'm', epoch: 1 })
  })

  it('joining: the leader assigns before it syncs', () => {
    const harness = new Harness()
    harness.member.start(0)
    const members = [{ memberId: 'm', groupInstanceId: null, metadata: Buffer.alloc(0) }]
    const joined = { memberId: 'm', generation: 1, protocol: 'p', members }
    harness.member.joinAnswered(harness.last, CODE.none, joined, 0)
    expect(harness.events).toEqual(['assign'])
    harness.member.assigned(joined, [{ memberId: 'm', assignment: Buffer.from('x') }], 0)
    expect(harness.last).toMatchObject({ type: 'sync', assignments: [{ memberId: 'm' }] })
  })

  it('stable, cooperative: keeps working while it joins, gives back what moves, then joins again', () => {
    const harness = new Harness().stable(0, 1)
    harness.beat(CODE.rebalanceInProgress)
    expect(harness.events).toEqual([])
    expect(harness.last).toMatchObject({ type: 'join', owned: set(0, 1) })
    harness.joined(2)
    harness.synced(set(1, 2))
    expect(harness.events).toEqual(['revoke 0', 'assigned 2'])
    expect(harness.member.owned.size).toBe(3)
    harness.release()
    expect(harness.last).toMatchObject({ type: 'join', generation: 2, owned: set(1, 2) })
  })

  it('stable, eager: gives back everything before it joins', () => {
    const harness = new Harness(false).stable(0, 1)
    harness.beat(CODE.rebalanceInProgress)
    expect(harness.events).toEqual(['revoke 0,1'])
    expect(harness.member.identity?.epoch).toBe(1)
    harness.release()
    expect(harness.last).toMatchObject({ type: 'join', owned: set() })
  })

  it('stable: a revocation that is under way ends before the next join', () => {
    const harness = new Harness().stable(0, 1)
    harness.beat(CODE.rebalanceInProgress)
    harness.joined(2)
    harness.synced(set(1))
    harness.beat(CODE.rebalanceInProgress)
    expect(harness.last.type).toBe('heartbeat')
    harness.release()
    expect(harness.last).toMatchObject({ type: 'join', owned: set(1) })
  })

  it.each([
    ['ILLEGAL_GENERATION', CODE.illegalGeneration, 'm'],
    ['UNKNOWN_MEMBER_ID', CODE.unknownMember, ''],
  ])('any: %s takes everything, and it joins again', (_, code, memberId) => {
    const harness = new Harness().stable(0, 1)
    harness.beat(code)
    expect(harness.events).toEqual(['lost 0,1 fenced'])
    expect(harness.last).toMatchObject({ type: 'join', memberId, generation: -1, owned: set() })
  })

  it('any: ILLEGAL_GENERATION of a generation that has passed says nothing', () => {
    const harness = new Harness().stable(0, 1)
    harness.pass(3_100)
    const heartbeat = harness.last
    harness.member.rejoin('test', harness.now)
    harness.joined(2)
    harness.synced(set(0, 1))
    harness.member.heartbeatAnswered(heartbeat, CODE.illegalGeneration, harness.now)
    harness.member.identityRefused(CODE.illegalGeneration, { memberId: 'm', epoch: 1 }, harness.now)
    expect([harness.events, harness.member.phase]).toEqual([[], 'stable'])
  })

  it('joining: ILLEGAL_GENERATION means that the join was completed, and its answer is on its way', () => {
    const harness = new Harness().stable(0)
    harness.member.rejoin('test', harness.now)
    const join = harness.last
    harness.pass(3_100)
    harness.member.heartbeatAnswered(harness.last, CODE.illegalGeneration, harness.now)
    expect(harness.events).toEqual([])
    harness.member.joinAnswered(join, CODE.none, { memberId: 'm', generation: 2, protocol: 'p', members: undefined }, 0)
    expect(harness.last).toMatchObject({ type: 'sync', generation: 2 })
  })

  it('any: FENCED_INSTANCE_ID is the end', () => {
    const harness = new Harness().stable(0)
    harness.beat(CODE.fencedInstance)
    expect(harness.events).toEqual(['lost 0 failed', 'fatal FENCED_INSTANCE_ID'])
    const { length } = harness.sent
    harness.pass(100_000)
    expect([harness.sent.length, harness.member.wakeAt]).toEqual([length, Infinity])
  })

  it.each([
    ['INCONSISTENT_GROUP_PROTOCOL', 23],
    ['GROUP_AUTHORIZATION_FAILED', 30],
    ['GROUP_MAX_SIZE_REACHED', 81],
  ])('joining: %s is the end', (name, code) => {
    const harness = new Harness()
    harness.member.start(0)
    harness.joined(-1, code)
    expect(harness.events).toEqual([`fatal ${name}`])
  })

  it('loses everything when no heartbeat was acknowledged for a session, counted from when it was sent', () => {
    const harness = new Harness().stable(0)
    harness.beat()
    const sentAt = harness.now
    harness.pass(44_000)
    expect(harness.events.filter((event) => event.startsWith('lost'))).toEqual([])
    harness.pass(1_200)
    expect(harness.events.at(-1)).toBe('lost 0 session-expired')
    expect(harness.now - sentAt).toBeLessThanOrEqual(45_200)
    expect(harness.last.type).toBe('join')
  })

  it('a process that was frozen loses everything before anything else happens', () => {
    const harness = new Harness().stable(0)
    harness.pass(3_100)
    const heartbeat = harness.last
    harness.now += 60_000
    harness.member.heartbeatAnswered(heartbeat, CODE.none, harness.now)
    expect(harness.events).toEqual(['lost 0 session-expired'])
  })

  it('has nothing after the rebalance timeout if it has not joined, although its heartbeats are answered', () => {
    const harness = new Harness(false).stable(0)
    harness.beat()
    const settledAt = harness.now
    harness.answerFor(70_000, CODE.rebalanceInProgress, () => harness.events.length < 2)
    expect(harness.events).toEqual(['revoke 0', 'lost 0 session-expired'])
    expect(harness.now - settledAt).toBeLessThanOrEqual(60_000)
  })

  it('waits for the answer to its join as long as its heartbeats are answered', () => {
    const harness = new Harness().stable(0)
    harness.beat(CODE.rebalanceInProgress)
    harness.answerFor(120_000, CODE.rebalanceInProgress)
    expect(harness.events).toEqual([])
    harness.pass(10_000)
    expect(harness.events).toContain('lost 0 session-expired')
  })

  it('an assignment that comes after its session is worth nothing', () => {
    const harness = new Harness()
    harness.member.start(0)
    harness.joined(1)
    harness.now += 50_000
    harness.synced(set(0))
    expect(harness.events).toEqual([])
    expect(harness.last.type).toBe('join')
  })

  it('gives up a heartbeat that is not answered, while there is time for another', () => {
    const harness = new Harness().stable(0)
    harness.pass(3_100)
    harness.pass(15_100)
    expect(harness.events).toEqual(['abandon'])
    harness.member.failed(harness.last, LOST, harness.now)
    harness.pass(1_000)
    harness.member.heartbeatAnswered(harness.last, CODE.none, harness.now)
    harness.pass(30_000)
    expect(harness.events).toEqual(['abandon', 'abandon'])
  })

  it('what was lost while it joined is released with another join: the group waits for it', () => {
    const harness = new Harness().stable(0)
    harness.member.rejoin('test', harness.now)
    const join = harness.last
    harness.pass(3_100)
    harness.now += 60_000
    harness.member.tick(harness.now)
    expect(harness.events).toContain('lost 0 session-expired')
    harness.member.joinAnswered(
      join,
      CODE.none,
      { memberId: 'm', generation: 2, protocol: 'p', members: undefined },
      harness.now,
    )
    const sync = harness.sent.findLast(({ type }) => type === 'sync') as ClassicRequest
    harness.member.syncAnswered(sync, CODE.none, set(), harness.now)
    expect(harness.sent.at(-1)).toMatchObject({ type: 'join', owned: set() })
  })

  it('K13: keeps a bounded rate under an error that stays', () => {
    for (const code of [CODE.memberIdRequired, CODE.unknownMember, CODE.rebalanceInProgress, CODE.coordinatorLoading]) {
      const harness = new Harness()
      harness.member.start(0)
      for (let answered = 0; harness.now < 60_000; harness.pass(100)) {
        if (harness.sent.length === answered) continue
        answered = harness.sent.length
        harness.joined(-1, code)
      }
      expect(harness.sent.length).toBeLessThan(100)
    }
  })

  it('closing: takes no new partitions, and keeps its session until it leaves', () => {
    const harness = new Harness().stable(0)
    harness.member.close()
    harness.beat(CODE.rebalanceInProgress)
    harness.beat()
    expect(harness.sent.filter(({ type }) => type === 'join').length).toBe(1)
    expect(harness.member.leave()).toEqual({ memberId: 'm', epoch: 1 })
    expect(harness.member.wakeAt).toBe(Infinity)
  })

  it('closing: commits in the generation that it has when the group rebalances once more', () => {
    const harness = new Harness().stable(0)
    harness.beat(CODE.rebalanceInProgress)
    harness.joined(2)
    harness.member.close()
    expect(harness.member.identity).toBeUndefined()
    harness.synced(set(), CODE.rebalanceInProgress)
    expect(harness.member.identity).toEqual({ memberId: 'm', epoch: 2 })
    harness.beat(CODE.rebalanceInProgress)
    expect(harness.sent.filter(({ type }) => type === 'join').length).toBe(2)
  })
})
