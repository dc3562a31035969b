import { describe, expect, it } from 'vitest'
import type { MemberIdentity } from '../../../../src/kafka/consumer/group-machine.ts'
import { CommitPipeline } from '../../../../src/kafka/consumer/offsets/commit-pipeline.ts'
import type { CommitRequest, OwnershipSpan } from '../../../../src/kafka/consumer/offsets/commit-pipeline.ts'
import { KafkaError } from '../../../../src/kafka/errors.ts'

const GENERATION_7: MemberIdentity = { memberId: 'm', epoch: 7 }
const GENERATION_8: MemberIdentity = { memberId: 'm', epoch: 8 }

function setUp() {
  const sent: CommitRequest[] = []
  const refusedIdentities: number[] = []
  const refused: string[] = []
  const commits = new CommitPipeline(
    'g',
    {
      send: (request) => void sent.push(request),
      identityRefused: (code) => void refusedIdentities.push(code),
      refused: (_, error) => void refused.push(error.code),
    },
    () => 0.5,
  )
  const [a, b]: OwnershipSpan[] = [
    { topic: 't', partition: 0 },
    { topic: 't', partition: 1 },
  ] as const
  if (a === undefined || b === undefined) throw new Error('no spans')
  commits.begin(a)
  commits.begin(b)
  commits.useIdentity(GENERATION_7, 0)
  const want = (span: OwnershipSpan, offset: number) => commits.want(span, { offset, leaderEpoch: -1, metadata: '' })
  const last = () => sent.at(-1) as CommitRequest
  const offsets = () => last().entries.map(({ span, commit }) => [span.partition, commit.offset])
  return { commits, sent, refusedIdentities, refused, a, b, want, last, offsets }
}

describe('commits of a group', () => {
  it('go out one at a time, each with the last of what was wanted', () => {
    const { commits, sent, a, b, want, last, offsets } = setUp()
    want(a, 1)
    commits.flush(0)
    want(a, 2)
    want(a, 3)
    want(b, 9)
    commits.flush(0)
    expect(sent.length).toBe(1)
    commits.answered(last(), () => 0, 0)
    expect(offsets()).toEqual([
      [0, 3],
      [1, 9],
    ])
    expect(commits.committed(a)?.offset).toBe(1)
  })

  it('wait until they are asked for', () => {
    const { commits, sent, a, want } = setUp()
    want(a, 1)
    commits.useIdentity(GENERATION_7, 0)
    expect([sent.length, commits.wakeAt]).toEqual([0, Infinity])
  })

  it('C20: with a generation that has passed are sent again with the new one, for what is still owned', () => {
    const { commits, refusedIdentities, a, b, want, last, offsets } = setUp()
    want(a, 5)
    want(b, 5)
    commits.flush(0)
    commits.end(b)
    commits.useIdentity(GENERATION_8, 10)
    commits.answered(last(), () => 22, 20)
    expect([refusedIdentities, offsets(), last().identity.epoch]).toEqual([[], [[0, 5]], 8])
  })

  it('refused for the identity that the member still has are reported', () => {
    const { commits, refusedIdentities, a, want, last } = setUp()
    want(a, 5)
    commits.flush(0)
    commits.answered(last(), () => 22, 0)
    expect(refusedIdentities).toEqual([22])
    expect(commits.wakeAt).toBeGreaterThan(0)
  })

  it('wait while the member has no identity, and for the end of a rebalance', () => {
    const { commits, sent, a, want, last, offsets } = setUp()
    want(a, 5)
    commits.flush(0)
    commits.answered(last(), () => 27, 0)
    commits.useIdentity(undefined, 1)
    commits.flush(10_000)
    expect(sent.length).toBe(1)
    commits.useIdentity(GENERATION_8, 10_001)
    expect([sent.length, offsets()]).toEqual([2, [[0, 5]]])
  })

  it('with an epoch that the member does not know yet are sent again after a pause', () => {
    const { commits, sent, refusedIdentities, a, want, last } = setUp()
    want(a, 5)
    commits.flush(0)
    commits.answered(last(), () => 113, 0)
    expect([sent.length, refusedIdentities]).toEqual([1, []])
    commits.useIdentity(GENERATION_7, commits.wakeAt)
    expect(sent.length).toBe(2)
  })

  it('after a lost answer are sent again, with what has come up meanwhile', () => {
    const { commits, a, want, last, offsets } = setUp()
    want(a, 5)
    commits.flush(0)
    want(a, 6)
    commits.failed(
      last(),
      new KafkaError('lost', { code: 'CONNECTION_CLOSED', action: 'refresh', outcome: 'unknown' }),
      0,
    )
    commits.useIdentity(GENERATION_7, 2_000)
    expect(offsets()).toEqual([[0, 6]])
  })

  it('an answer counts in its own span only', () => {
    const { commits, a, want, last } = setUp()
    want(a, 5)
    commits.flush(0)
    const again = { topic: 't', partition: 0 }
    commits.end(a)
    commits.begin(again)
    commits.answered(last(), () => 0, 0)
    expect([commits.committed(a), commits.committed(again)]).toEqual([undefined, undefined])
  })

  it('those who wait are told of success, of a refusal, and of a partition that was taken away', () => {
    const { commits, refused, a, b, want, last } = setUp()
    const told: string[] = []
    const wait = (name: string, span: OwnershipSpan) =>
      commits.whenCommitted(span, (error) => void told.push(`${name} ${error?.code}`))
    wait('nothing', a)
    want(a, 5)
    want(b, 5)
    commits.flush(0)
    wait('a', a)
    wait('b', b)
    commits.answered(last(), ({ span }) => (span === a ? 0 : 12), 0)
    want(a, 6)
    wait('a', a)
    commits.end(a)
    expect(told).toEqual(['nothing undefined', 'a undefined', 'b OFFSET_METADATA_TOO_LARGE', 'a PARTITION_LOST'])
    expect(refused).toEqual(['OFFSET_METADATA_TOO_LARGE'])
  })

  it('K13: keep a bounded rate under an error that stays', () => {
    const { commits, sent, a, want, last } = setUp()
    want(a, 5)
    commits.flush(0)
    for (let now = 0; now < 60_000; now += 10) {
      if (sent.length > 0) commits.answered(last(), () => 14, now)
      commits.useIdentity(GENERATION_7, now)
    }
    expect(sent.length).toBeLessThan(100)
  })
})
