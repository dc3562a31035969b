import { describe, expect, it } from 'vitest'
import { PartitionSet } from '../../../../src/kafka/consumer/partition-set.ts'
import { ShareMember } from '../../../../src/kafka/consumer/share/share-member.ts'
import type { ShareHeartbeat } from '../../../../src/kafka/consumer/share/share-member.ts'
import { ShareSession } from '../../../../src/kafka/consumer/share/share-session.ts'
import { KafkaError } from '../../../../src/kafka/errors.ts'

const P0 = { topicId: 'id', partition: 0 }
const P1 = { topicId: 'id', partition: 1 }

function opened(): ShareSession {
  const session = new ShareSession()
  session.fetch([P0, P1])
  session.answered()
  return session
}

describe('a share session', () => {
  it('begins with all partitions and nothing said, then carries changes', () => {
    const session = new ShareSession()
    const first = session.fetch([P0, P1]).part
    expect(first).toMatchObject({ shareSessionEpoch: 0, forgottenTopicsData: [] })
    expect(first.topics[0]?.partitions.map(({ partitionIndex }) => partitionIndex)).toEqual([0, 1])
    session.answered()
    expect(session.fetch([P1]).part).toEqual({
      shareSessionEpoch: 1,
      topics: [],
      forgottenTopicsData: [{ topicId: 'id', partitions: [0] }],
    })
  })

  it('puts runs of offsets about which the same is said together', () => {
    const session = opened()
    for (const offset of [3, 1, 2, 7]) session.say(P0, offset, 'accept', session.generation)
    session.say(P0, 4, 'release', session.generation)
    const { part } = session.fetch([P0, P1])
    expect(part.topics[0]?.partitions).toEqual([
      {
        partitionIndex: 0,
        acknowledgementBatches: [
          { firstOffset: 1, lastOffset: 3, acknowledgeTypes: [1] },
          { firstOffset: 4, lastOffset: 4, acknowledgeTypes: [2] },
          { firstOffset: 7, lastOffset: 7, acknowledgeTypes: [1] },
        ],
      },
    ])
  })

  it('lets the broker forget a partition that was named only for a verdict, once it is said', () => {
    const session = opened()
    session.fetch([P0])
    session.answered()
    // P1 has gone to another broker; the verdict is about what was acquired here.
    session.say(P1, 1, 'accept', session.generation)
    expect(session.fetch([P0]).part).toMatchObject({
      topics: [{ partitions: [{ partitionIndex: 1 }] }],
      forgottenTopicsData: [],
    })
    session.answered()
    expect(session.fetch([P0]).part).toMatchObject({
      topics: [],
      forgottenTopicsData: [{ topicId: 'id', partitions: [1] }],
    })
  })

  it('takes one verdict for each offset, which takes the place of a renewal', () => {
    const session = opened()
    const { generation } = session
    expect(session.say(P0, 1, 'renew', generation)).toBe(true)
    expect(session.say(P0, 1, 'accept', generation)).toBe(true)
    expect(session.say(P0, 1, 'reject', generation)).toBe(false)
    const [batch] = session.acknowledge(false).part.topics[0]?.partitions[0]?.acknowledgementBatches ?? []
    expect(batch?.acknowledgeTypes).toEqual([1])
  })

  it('never carries renewals in a fetch', () => {
    const session = opened()
    session.say(P0, 1, 'renew', session.generation)
    session.say(P0, 2, 'accept', session.generation)
    const [partition] = session.fetch([P0, P1]).part.topics[0]?.partitions ?? []
    expect(partition?.acknowledgementBatches).toEqual([{ firstOffset: 2, lastOffset: 2, acknowledgeTypes: [1] }])
    session.answered()
    expect(session.acknowledge(false).part).toMatchObject({ isRenewAck: true, shareSessionEpoch: 2 })
  })

  it('C27: what was said dies with its session, and nothing is said on epoch 0', () => {
    const session = opened()
    const before = session.generation
    session.say(P0, 1, 'accept', before)
    session.lost()
    expect([session.hasPending, session.say(P0, 2, 'accept', before)]).toEqual([false, false])
    const { part } = session.fetch([P0])
    expect(part.shareSessionEpoch).toBe(0)
    expect(part.topics[0]?.partitions[0]?.acknowledgementBatches).toEqual([])
    session.answered()
    expect(session.say(P0, 2, 'accept', before)).toBe(false)
    expect(session.say(P0, 2, 'accept', session.generation)).toBe(true)
  })

  it('ends with what is left to say', () => {
    const session = opened()
    session.say(P0, 1, 'release', session.generation)
    expect(session.acknowledge(true).part.shareSessionEpoch).toBe(-1)
  })
})

describe('a member of a share group', () => {
  const setUp = () => {
    const sent: ShareHeartbeat[] = []
    const events: string[] = []
    const member = new ShareMember(
      'g',
      {
        send: (request) => void sent.push(request),
        assigned: ({ size }) => void events.push(`assigned ${size}`),
        fatal: (error) => void events.push(`fatal ${error.code}`),
      },
      () => 0.5,
    )
    const answer = (errorCode: number, memberEpoch: number, assignment?: PartitionSet) =>
      member.answered(
        sent.at(-1) as ShareHeartbeat,
        { errorCode, errorMessage: null, memberEpoch, heartbeatIntervalMs: 1_000, assignment },
        0,
      )
    member.start(0)
    return { sent, events, member, answer }
  }

  it('joins with its topics, then keeps up without them', () => {
    const { sent, events, member, answer } = setUp()
    expect(sent).toEqual([{ memberEpoch: 0, subscribes: true }])
    answer(0, 3, new PartitionSet([{ topic: 'id', partition: 0 }]))
    expect(events).toEqual(['assigned 1'])
    expect(member.wakeAt).toBe(1_000)
    member.tick(1_000)
    expect(sent.at(-1)).toEqual({ memberEpoch: 3, subscribes: false })
  })

  it.each([
    ['UNKNOWN_MEMBER_ID', 25],
    ['FENCED_MEMBER_EPOCH', 110],
  ])('joins again after %s', (_, code) => {
    const { sent, events, member, answer } = setUp()
    answer(0, 3, new PartitionSet([{ topic: 'id', partition: 0 }]))
    member.tick(1_000)
    answer(code, 0)
    expect(events).toEqual(['assigned 1', 'assigned 0'])
    member.tick(5_000)
    expect(sent.at(-1)).toEqual({ memberEpoch: 0, subscribes: true })
  })

  it('sends its topics again after a lost answer, and ends with what can not get better', () => {
    const { sent, events, member, answer } = setUp()
    answer(0, 3)
    member.tick(1_000)
    const lost = new KafkaError('lost', { code: 'CONNECTION_CLOSED', action: 'refresh', outcome: 'unknown' })
    member.failed(sent.at(-1) as ShareHeartbeat, lost, 1_000)
    member.tick(3_000)
    expect(sent.at(-1)).toEqual({ memberEpoch: 3, subscribes: true })
    answer(30, 0)
    expect([events, member.wakeAt, member.leave()]).toEqual([['fatal GROUP_AUTHORIZATION_FAILED'], Infinity, false])
  })
})
