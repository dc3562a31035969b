import { describe, expect, it } from 'vitest'
import { backoffMs } from '../../../src/kafka/cluster/backoff.ts'
import { Metadata } from '../../../src/kafka/cluster/metadata.ts'
import { RefreshSchedule } from '../../../src/kafka/cluster/refresh-schedule.ts'
import type { MetadataResponse } from '../../../src/kafka/protocol/generated/api-types.ts'
import { ZERO_UUID } from '../../../src/kafka/protocol/layout.ts'

const [A, B, C] = ['D', 'B', 'C'].map((letter) => `${letter.repeat(21)}A`) as [string, string, string]

type Partition = readonly [leader: number, epoch: number]

function answer(id: string, partitions: readonly Partition[], errorCode = 0): MetadataResponse {
  return {
    throttleTimeMs: 0,
    brokers: [1, 2].map((nodeId) => ({ nodeId, host: `h${nodeId}`, port: 9_092, rack: null })),
    clusterId: 'c',
    controllerId: 1,
    clusterAuthorizedOperations: 0,
    errorCode: 0,
    topics: [
      {
        errorCode,
        name: 't',
        topicId: id,
        isInternal: false,
        topicAuthorizedOperations: 0,
        partitions: partitions.map(([leaderId, leaderEpoch], partitionIndex) => ({
          errorCode: 0,
          partitionIndex,
          leaderId,
          leaderEpoch,
          replicaNodes: [],
          isrNodes: [],
          offlineReplicas: [],
        })),
      },
    ],
  }
}

describe('metadata', () => {
  it('takes a leader of a later epoch, and ignores one of an earlier', () => {
    const metadata = new Metadata()
    expect(
      metadata.apply(
        answer(A, [
          [1, 5],
          [2, 5],
        ]),
      ),
    ).toEqual([])
    expect(
      metadata.apply(
        answer(A, [
          [2, 6],
          [1, 4],
        ]),
      ),
    ).toEqual([{ type: 'leader', topic: 't', partition: 0, leader: 2 }])
    expect([metadata.leaderOf('t', 0), metadata.leaderOf('t', 1)]).toEqual([
      { leader: 2, epoch: 6 },
      { leader: 2, epoch: 5 },
    ])
    expect(
      metadata.apply(
        answer(A, [
          [-1, 7],
          [2, 5],
        ]),
      ),
    ).toEqual([{ type: 'leader', topic: 't', partition: 0, leader: undefined }])
  })

  it('starts over with a new id, whatever its epochs, and ignores brokers that still have the old one', () => {
    const metadata = new Metadata()
    metadata.apply(
      answer(A, [
        [1, 9],
        [1, 9],
        [1, 9],
      ]),
    )
    expect(metadata.apply(answer(B, [[2, 0]]))).toEqual([{ type: 'recreated', topic: 't', oldId: A, newId: B }])
    expect(metadata.topic('t')).toMatchObject({ id: B, partitions: [{ leader: 2, epoch: 0 }] })
    expect(metadata.apply(answer(A, [[1, 10]]))).toEqual([])
    expect(metadata.topic('t')).toMatchObject({ id: B, partitions: [{ leader: 2, epoch: 0 }] })
    expect([metadata.topicOfId(A), metadata.topicOfId(B)?.name]).toEqual([undefined, 't'])
    expect(metadata.apply(answer(C, [[1, 0]]))).toMatchObject([{ oldId: B, newId: C }])
    for (const old of [A, B]) expect(metadata.apply(answer(old, [[2, 99]]))).toEqual([])
  })

  it('keeps what it knows while an answer has an error, and reports it', () => {
    const metadata = new Metadata()
    metadata.apply(answer(A, [[1, 1]]))
    metadata.apply(answer(ZERO_UUID, [], 3))
    expect(metadata.topic('t')).toMatchObject({ id: A, errorCode: 3, partitions: [{ leader: 1, epoch: 1 }] })
    metadata.apply(answer(A, [[1, 1]]))
    expect(metadata.topic('t')?.errorCode).toBe(0)
  })

  it('reports new partitions; a broker that does not know them yet takes none away', () => {
    const metadata = new Metadata()
    metadata.apply(answer(A, [[1, 0]]))
    expect(
      metadata.apply(
        answer(A, [
          [1, 0],
          [2, 0],
          [2, 0],
        ]),
      ),
    ).toEqual([{ type: 'partitions', topic: 't', from: 1, to: 3 }])
    expect(metadata.apply(answer(A, [[1, 0]]))).toEqual([])
    expect(metadata.topic('t')?.partitions).toHaveLength(3)
  })

  it('takes every leader of a cluster that is too old for epochs and ids', () => {
    const metadata = new Metadata()
    metadata.apply(answer(ZERO_UUID, [[1, -1]]))
    metadata.apply(answer(ZERO_UUID, [[2, -1]]))
    expect(metadata.topic('t')).toMatchObject({ id: undefined, partitions: [{ leader: 2, epoch: -1 }] })
    // An upgrade brings ids: no other topic.
    expect(metadata.apply(answer(A, [[2, 3]]))).toEqual([])
    expect(metadata.topicOfId(A)?.name).toBe('t')
  })

  it('keeps its brokers when one that has just started knows none', () => {
    const metadata = new Metadata()
    metadata.apply(answer(A, [[1, 1]]))
    metadata.apply({ ...answer(A, [[1, 1]]), brokers: [] })
    expect([...metadata.nodes.keys()]).toEqual([1, 2])
  })

  describe('with a hint of a broker', () => {
    const hint = {
      topic: 't',
      partition: 0,
      leader: 3,
      epoch: 6,
      endpoints: [{ nodeId: 3, host: 'h3', port: 1, rack: null }],
    }

    it('takes leader and address at once', () => {
      const metadata = new Metadata()
      metadata.apply(answer(A, [[1, 5]]))
      expect(metadata.applyHint(hint)).toBe(true)
      expect([metadata.leaderOf('t', 0), metadata.nodes.get(3)?.host]).toEqual([{ leader: 3, epoch: 6 }, 'h3'])
      // A lagging broker doesn't take it back.
      metadata.apply(answer(A, [[1, 5]]))
      expect(metadata.leaderOf('t', 0)).toEqual({ leader: 3, epoch: 6 })
    })

    it.each([
      ['an epoch that is not newer', { epoch: 5 }],
      ['no leader', { leader: -1 }],
      ['a leader without address', { endpoints: [] }],
      ['an unknown partition', { partition: 1 }],
      ['an unknown topic', { topic: 'other' }],
    ])('ignores %s', (_, change) => {
      const metadata = new Metadata()
      metadata.apply(answer(A, [[1, 5]]))
      expect(metadata.applyHint({ ...hint, ...change })).toBe(false)
      expect(metadata.leaderOf('t', 0)).toEqual({ leader: 1, epoch: 5 })
    })
  })

  it('forgets a topic', () => {
    const metadata = new Metadata()
    metadata.apply(answer(A, [[1, 5]]))
    metadata.forget('t')
    expect([metadata.topic('t'), metadata.topicOfId(A)]).toEqual([undefined, undefined])
  })
})

describe('the schedule of refreshes', () => {
  it('starts at once, then waits for its age', () => {
    const schedule = new RefreshSchedule(1_000)
    expect(schedule.dueAt).toBeLessThanOrEqual(1_000)
    schedule.started(1_000)
    expect(schedule.dueAt).toBe(Infinity)
    schedule.succeeded(1_010)
    expect(schedule.dueAt).toBe(301_010)
  })

  it('shares one refresh, at least 100 ms after the last, and does not lose a wish made meanwhile', () => {
    const schedule = new RefreshSchedule(0)
    schedule.started(0)
    schedule.want()
    schedule.want()
    schedule.succeeded(20)
    expect(schedule.dueAt).toBe(100)
    schedule.started(100)
    schedule.succeeded(110)
    expect(schedule.dueAt).toBe(300_110)
  })

  it('pauses longer after each failure, up to a second, and then goes back to the bootstrap addresses', () => {
    const schedule = new RefreshSchedule(0)
    let now = 0
    let starts = 0
    while (!schedule.mustBootstrap(now)) {
      schedule.started(now)
      schedule.failed(now + 5, 0.5)
      expect(schedule.dueAt).toBeGreaterThan(now + 5)
      now = Math.max(now + 5, schedule.dueAt)
      starts++
    }
    expect(now).toBeGreaterThanOrEqual(30_000)
    expect(starts).toBeLessThan(40)
    schedule.bootstrapped(now)
    expect(schedule.mustBootstrap(now + 29_999)).toBe(false)
    schedule.started(now)
    schedule.succeeded(now + 1)
    expect(schedule.mustBootstrap(now + 100_000)).toBe(false)
  })
})

it('spreads pauses by a fifth', () => {
  expect([1, 2, 3, 10].map((failures) => backoffMs(failures, 0.5))).toEqual([50, 100, 200, 1_000])
  expect([backoffMs(0, 1), backoffMs(1, 0), Math.round(backoffMs(1, 1))]).toEqual([0, 40, 60])
})
