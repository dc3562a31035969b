import { describe, expect, it } from 'vitest'
import { KafkaError } from '../../../../src/kafka/errors.ts'
import { CODE } from '../../../../src/kafka/consumer/group-errors.ts'
import { NextMember } from '../../../../src/kafka/consumer/next/next-member.ts'
import type { NextAnswer, NextRequest } from '../../../../src/kafka/consumer/next/next-member.ts'
import type { PartitionSet } from '../../../../src/kafka/consumer/partition-set.ts'
import { LOST, MemberHarness, set } from './member-harness.ts'

class Harness extends MemberHarness<NextRequest, NextMember> {
  constructor(isStatic = false) {
    let ids = 0
    const settings = {
      groupId: 'g',
      isStatic,
      sessionTimeoutMs: 45_000,
      rebalanceTimeoutMs: 60_000,
      heartbeatIntervalMs: 3_000,
      newMemberId: () => `m${ids++}`,
    }
    super((effects) => new NextMember(settings, effects, () => 0.5))
  }

  answer(memberEpoch: number, assignment?: PartitionSet, errorCode: number = CODE.none): void {
    const rest = { errorMessage: null, memberId: null, heartbeatIntervalMs: 3_000 }
    const answer: NextAnswer = { ...rest, errorCode, memberEpoch, assignment }
    this.member.answered(this.last, answer, this.now)
  }

  stable(...partitions: readonly number[]): this {
    this.member.start(this.now)
    this.answer(1, set(...partitions))
    if (partitions.length > 0) this.answer(1)
    this.events.length = 0
    return this
  }
}

describe('a member of a KIP-848 group', () => {
  it('joining: epoch 0, nothing owned, everything else; then acknowledges what it gets', () => {
    const harness = new Harness()
    harness.member.start(0)
    expect(harness.last).toMatchObject({ memberEpoch: 0, isFull: true, owned: set(), subscribes: true })
    harness.answer(1, set(0, 1))
    expect(harness.events).toEqual(['assigned 0,1'])
    expect(harness.last).toMatchObject({ memberEpoch: 1, isFull: false, owned: set(0, 1), subscribes: false })
    expect(harness.member.phase).toBe('reconciling')
    harness.answer(1)
    expect(harness.member.phase).toBe('stable')
  })

  it('reconciling: releases first, and only then says so', () => {
    const harness = new Harness().stable(0, 1)
    harness.pass(3_100)
    expect(harness.last.owned).toBeUndefined()
    harness.answer(1, set(1))
    expect(harness.events).toEqual(['revoke 0'])
    harness.pass(3_100)
    expect(harness.last.owned).toBeUndefined()
    harness.answer(1)
    harness.release()
    expect(harness.last).toMatchObject({ memberEpoch: 1, owned: set(1) })
    harness.answer(2, set(1, 5))
    expect(harness.events.at(-1)).toBe('assigned 5')
  })

  it('stable: one that has released its last partition says so with an empty list', () => {
    const harness = new Harness().stable(0)
    harness.pass(3_100)
    harness.answer(1, set())
    harness.release()
    expect(harness.last.owned).toEqual(set())
  })

  it('stable: after a lost answer everything is sent again', () => {
    const harness = new Harness().stable(0)
    harness.pass(3_100)
    harness.member.failed(harness.last, LOST, harness.now)
    harness.pass(1_000)
    expect(harness.last).toMatchObject({ memberEpoch: 1, isFull: true, owned: set(0), subscribes: true })
  })

  it.each([
    ['FENCED_MEMBER_EPOCH', CODE.fencedMemberEpoch, 'm0'],
    ['STALE_MEMBER_EPOCH', CODE.staleMemberEpoch, 'm0'],
    ['UNKNOWN_MEMBER_ID', CODE.unknownMember, 'm1'],
  ])('any: %s takes everything, and it joins again', (_, code, memberId) => {
    const harness = new Harness().stable(0)
    harness.pass(3_100)
    harness.answer(0, undefined, code)
    expect(harness.events).toEqual(['lost 0 fenced'])
    expect(harness.last).toMatchObject({ memberId, memberEpoch: 0, owned: set(), isFull: true })
  })

  it('any: UNRELEASED_INSTANCE_ID is tried three times', () => {
    const harness = new Harness(true)
    harness.member.start(0)
    for (let attempt = 1; attempt <= 3; attempt++) {
      expect(harness.sent.length).toBe(attempt)
      harness.answer(0, undefined, CODE.unreleasedInstance)
      harness.pass(2_000)
    }
    expect(harness.events).toEqual(['fatal UNRELEASED_INSTANCE_ID'])
  })

  it.each([
    ['UNSUPPORTED_VERSION', CODE.unsupportedVersion],
    ['FENCED_INSTANCE_ID', CODE.fencedInstance],
    ['GROUP_AUTHORIZATION_FAILED', 30],
  ])('any: %s is the end', (name, code) => {
    const harness = new Harness()
    harness.member.start(0)
    harness.answer(0, undefined, code)
    expect(harness.events).toEqual([`fatal ${name}`])
    expect(harness.member.wakeAt).toBe(Infinity)
  })

  it('loses everything when no heartbeat was acknowledged for a session', () => {
    const harness = new Harness().stable(0)
    harness.pass(3_100)
    harness.pass(45_000)
    expect(harness.events.at(-1)).toBe('lost 0 session-expired')
    expect(harness.last).toMatchObject({ memberEpoch: 0 })
  })

  it('has nothing after the rebalance timeout if it has not released, although its heartbeats are answered', () => {
    const harness = new Harness().stable(0, 1)
    harness.pass(3_100)
    harness.answer(1, set(1))
    const askedAt = harness.now
    let answered = harness.sent.length
    while (harness.now < askedAt + 70_000 && harness.events.length < 2) {
      harness.pass(100)
      if (harness.sent.length === answered || harness.last.memberEpoch === 0) continue
      answered = harness.sent.length
      harness.answer(1)
    }
    expect(harness.events).toEqual(['revoke 0', 'lost 0,1 session-expired'])
    expect(harness.now - askedAt).toBeLessThanOrEqual(60_000)
  })

  it('an assignment that comes after its session is worth nothing', () => {
    const harness = new Harness()
    harness.member.start(0)
    harness.now += 50_000
    harness.answer(1, set(0))
    expect(harness.events).toEqual([])
    expect(harness.last.memberEpoch).toBe(0)
  })

  it('changes its subscription with the next heartbeat, at once', () => {
    const harness = new Harness().stable(0)
    const { length } = harness.sent
    harness.member.subscriptionChanged(harness.now)
    expect([harness.sent.length, harness.last.subscribes]).toEqual([length + 1, true])
    harness.member.subscriptionChanged(harness.now)
    harness.answer(1)
    expect([harness.sent.length, harness.last.subscribes]).toEqual([length + 2, true])
  })

  it('leaves with -1, a static member with -2: its place is kept', () => {
    expect(new Harness().stable(0).member.leave()).toEqual({ memberId: 'm0', epoch: -1 })
    expect(new Harness(true).stable(0).member.leave()).toEqual({ memberId: 'm0', epoch: -2 })
    expect(new Harness().member.leave()).toBeUndefined()
  })

  it('leaves also while it could not come back since its session expired: the coordinator may wait for it much longer', () => {
    const harness = new Harness().stable(0)
    harness.pass(3_100)
    harness.pass(45_000)
    const { last } = harness
    expect(last.memberEpoch).toBe(0)
    const error = new KafkaError('cut', { code: 'CONNECTION_CLOSED', action: 'retry', outcome: 'unknown' })
    harness.member.failed(last, error, harness.now)
    expect(harness.member.leave()).toEqual({ memberId: 'm0', epoch: -1 })
  })

  it('does not leave with an id that the coordinator does not know', () => {
    const harness = new Harness().stable(0)
    harness.pass(3_100)
    harness.member.close()
    harness.answer(0, undefined, CODE.unknownMember)
    expect(harness.member.leave()).toBeUndefined()
  })
})
