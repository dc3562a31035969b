import { describe, expect, it } from 'vitest'
import { FetchBudget } from '../../../../src/kafka/consumer/fetch/fetch-budget.ts'
import { FetchSession } from '../../../../src/kafka/consumer/fetch/fetch-session.ts'
import type { FetchWish } from '../../../../src/kafka/consumer/fetch/fetch-session.ts'
import { AnswerBytes, PartitionBuffer } from '../../../../src/kafka/consumer/fetch/partition-buffer.ts'
import { Position } from '../../../../src/kafka/consumer/fetch/position.ts'
import { visibleBatches } from '../../../../src/kafka/consumer/fetch/visible-batches.ts'
import { FinishedPrefix } from '../../../../src/kafka/consumer/offsets/finished-prefix.ts'
import type { HandedOut } from '../../../../src/kafka/consumer/offsets/finished-prefix.ts'
import { scanBatches } from '../../../../src/kafka/records/record-batch.ts'
import { batchOf } from '../sim/batch.ts'
import { SimLog } from '../sim/log.ts'

function wish(partition: number, offset: number, more: Partial<FetchWish> = {}): FetchWish {
  const id = 'AAAAAAAAAAAAAAAAAAAAAQ'
  const key = `${partition} t`
  return { key, topic: 't', topicId: id, partition, offset, leaderEpoch: 1, lastEpoch: -1, maxBytes: 1_000, ...more }
}

function partitionsOf(part: ReturnType<FetchSession['build']>): number[][] {
  const asked = part.topics.flatMap(({ partitions }) => partitions.map(({ partition }) => partition))
  return [asked, (part.forgottenTopicsData ?? []).flatMap(({ partitions }) => [...partitions])]
}

describe('a fetch session', () => {
  it('asks for everything, then for what has changed', () => {
    const session = new FetchSession()
    const first = session.build([wish(0, 5), wish(1, 5), wish(2, 5)], 13)
    expect(first).toMatchObject({ sessionId: 0, sessionEpoch: 0 })
    expect(partitionsOf(first)).toEqual([[0, 1, 2], []])
    expect(session.answered({ errorCode: 0, sessionId: 7 })).toBe(true)
    const second = session.build([wish(0, 5), wish(1, 9), wish(3, 0)], 13)
    expect(second).toMatchObject({ sessionId: 7, sessionEpoch: 1 })
    expect(partitionsOf(second)).toEqual([[1, 3], [2]])
    session.answered({ errorCode: 0, sessionId: 7 })
    expect(session.build([wish(0, 5)], 13)).toMatchObject({ sessionId: 7, sessionEpoch: 2 })
  })

  it.each([
    ['an error', (session: FetchSession) => expect(session.answered({ errorCode: 71, sessionId: 0 })).toBe(false)],
    ['a lost answer', (session: FetchSession) => session.lost()],
  ])('after %s asks for everything, in the place of the former session', (_, fail) => {
    const session = new FetchSession()
    session.build([wish(0, 5)], 13)
    session.answered({ errorCode: 0, sessionId: 7 })
    session.build([wish(0, 6)], 13)
    fail(session)
    const next = session.build([wish(0, 6)], 13)
    expect(next.sessionEpoch).toBe(0)
    expect(partitionsOf(next)).toEqual([[0], []])
  })

  it('without a session asks for everything each time', () => {
    const session = new FetchSession()
    session.build([wish(0, 5)], 13)
    session.answered({ errorCode: 0, sessionId: 0 })
    expect(partitionsOf(session.build([wish(0, 5)], 13))).toEqual([[0], []])
    expect(session.end()).toBeUndefined()
  })

  it('names topics as the version does, and begins again when that changes', () => {
    const session = new FetchSession()
    expect(session.build([wish(0, 5)], 12).topics[0]).toMatchObject({ topic: 't' })
    session.answered({ errorCode: 0, sessionId: 7 })
    const next = session.build([wish(0, 5)], 13)
    expect(next.topics[0]).toMatchObject({ topicId: wish(0, 0).topicId })
    expect(next.sessionEpoch).toBe(0)
    expect(session.build([wish(0, 5)], 6)).not.toHaveProperty('sessionId')
  })

  it('can be ended', () => {
    const session = new FetchSession()
    session.build([wish(0, 5)], 13)
    session.answered({ errorCode: 0, sessionId: 7 })
    expect(session.end()).toMatchObject({ sessionId: 7, sessionEpoch: -1, topics: [] })
  })
})

describe('a position', () => {
  it('is validated once for each new leader', () => {
    const position = new Position()
    expect(position.mustValidate(3)).toBe(false)
    position.moveTo(10, 2)
    expect(position.mustValidate(3)).toBe(true)
    expect(position.state).toBe('validating')
    expect(position.validated(3, 10)).toBe(false)
    expect(position.state).toBe('fetching')
    expect(position.mustValidate(3)).toBe(false)
    expect(position.mustValidate(4)).toBe(true)
    expect(position.validated(4, 7)).toBe(true)
  })

  it('has another version after everything that makes earlier answers worthless', () => {
    const position = new Position()
    position.moveTo(10, 2)
    const { version } = position
    position.advance(12, 2)
    expect(position.version).toBe(version)
    const versions = new Set([version])
    for (const change of [() => position.moveTo(12, 2), () => position.truncate(5, 1), () => position.outOfRange()]) {
      change()
      versions.add(position.version)
    }
    expect(versions.size).toBe(4)
    expect([position.state, position.offset]).toEqual(['outOfRange', -1])
  })
})

describe('the buffer of a partition', () => {
  const chunkOf = (values: readonly string[][], answer: AnswerBytes | undefined) => {
    const batches = scanBatches(Buffer.concat(values.map((each) => batchOf(each))))
    const bytes = batches.reduce((sum, batch) => sum + batch.bytes.length, 0)
    return { batches, bytes, fromOffset: 0, nextOffset: 1, lastEpoch: 1, answer }
  }

  it('gives back the memory of an answer when its last partition is done with it', () => {
    const budget = new FetchBudget(10_000)
    let freed = 0
    const answer = new AnswerBytes(500, budget, () => freed++)
    const [a, b] = [new PartitionBuffer(budget), new PartitionBuffer(budget)]
    a.add(chunkOf([['1'], ['2'], ['3']], answer))
    b.add(chunkOf([['1']], answer))
    expect(budget.used).toBe(500)
    expect(a.take(2)).toMatchObject({ isLast: false })
    b.clear()
    expect([budget.used, freed]).toEqual([500, 0])
    expect(a.take(100)).toMatchObject({ isLast: true })
    expect([budget.used, freed, a.bytes]).toEqual([0, 1, 0])
  })

  it('copies what is left of an answer, so that the rest of it can go', () => {
    const budget = new FetchBudget(10_000)
    const answer = new AnswerBytes(5_000, budget, () => {})
    const slow = new PartitionBuffer(budget)
    slow.add(chunkOf([['1'], ['2']], answer))
    const { bytes } = slow
    slow.detach(undefined)
    expect(budget.used).toBe(bytes)
    slow.take(1)
    expect(budget.used).toBe(bytes / 2)
    slow.clear()
    expect(budget.used).toBe(0)
  })

  it('reserves no more than there is room for', () => {
    const budget = new FetchBudget(1_000)
    expect([budget.reserve(800, 100), budget.reserve(800, 100), budget.reserve(800, 100)]).toEqual([800, 200, 0])
    budget.release(800)
    expect(budget.used).toBe(200)
  })
})

describe('what a reader sees', () => {
  const logOf = () => {
    const log = new SimLog()
    const stamp = (producerId: bigint) => ({ producerId, producerEpoch: 0, baseSequence: 0, isTransactional: true })
    log.append(batchOf(['plain']), 1)
    log.append(batchOf(['aborted'], stamp(1n)), 1)
    log.append(batchOf(['committed'], stamp(2n)), 1)
    log.appendMarker(1n, 0, false, 1, 0)
    log.append(batchOf(['committed later'], stamp(1n)), 1)
    log.appendMarker(2n, 0, true, 1, 0)
    log.appendMarker(1n, 0, true, 1, 0)
    return log
  }

  it('leaves out markers, and what was aborted, for a reader of committed records', () => {
    const log = logOf()
    const offsets = visibleBatches(log.batches, log.abortedWithin(0, 7)).map(({ baseOffset }) => baseOffset)
    expect(offsets).toEqual([0, 2, 4])
    expect(visibleBatches(log.batches, null).map(({ baseOffset }) => baseOffset)).toEqual([0, 1, 2, 4])
  })
})

describe('the finished prefix', () => {
  const batchFrom = (offset: number, count: number, nextOffset = offset + count): HandedOut => ({
    count,
    offsetAt: (index) => offset + index,
    nextOffset,
    leaderEpoch: 1,
  })

  it('never passes a record that is not finished (K6)', () => {
    const prefix = new FinishedPrefix(10, -1)
    const [a, b] = [batchFrom(10, 3), batchFrom(13, 2, 20)]
    prefix.handOut(a)
    prefix.handOut(b)
    expect(prefix.finish(b)).toBe(false)
    expect(prefix.finishOne(a, 2)).toBe(false)
    expect(prefix.floor).toBe(10)
    expect(prefix.finishOne(a, 0)).toBe(true)
    expect(prefix.floor).toBe(11)
    expect(prefix.finishOne(a, 1)).toBe(true)
    expect([prefix.floor, prefix.unfinished, prefix.leaderEpoch]).toEqual([20, 0, 1])
  })

  it('passes offsets without records only when nothing is unfinished', () => {
    const prefix = new FinishedPrefix(10, -1)
    const [batch, empty, behind] = [batchFrom(10, 1), batchFrom(11, 0, 30), batchFrom(30, 0, 35)]
    prefix.handOut(batch)
    prefix.handOut(empty)
    expect([prefix.finish(empty), prefix.floor]).toEqual([false, 10])
    expect([prefix.finish(batch), prefix.floor]).toEqual([true, 30])
    prefix.handOut(behind)
    expect([prefix.finish(behind), prefix.floor]).toEqual([true, 35])
  })

  it('keeps nothing of what is finished, though a record before it is not', () => {
    const prefix = new FinishedPrefix(10, -1)
    const [a, b, c, d] = [batchFrom(10, 1), batchFrom(11, 2), batchFrom(13, 1), batchFrom(14, 1)]
    for (const batch of [a, b, c, d]) prefix.handOut(batch)
    prefix.finishOne(b, 1)
    prefix.finishOne(c, 0)
    expect(prefix.batches).toEqual([a, b, d])
    expect([a, b, c, d].map((batch) => prefix.has(batch))).toEqual([true, true, false, true])
    prefix.finishOne(b, 0)
    prefix.finish(d)
    expect([prefix.batches, prefix.finish(c), prefix.isAtRest]).toEqual([[a], false, false])
    prefix.handOut(batchFrom(15, 1, 20))
    expect([prefix.finishOne(a, 0), prefix.floor, prefix.unfinished]).toEqual([true, 15, 1])
  })

  it('forgets what was handed out before a move', () => {
    const prefix = new FinishedPrefix(10, -1)
    const batch = batchFrom(10, 2)
    prefix.handOut(batch)
    prefix.moveTo(5, -1)
    expect(prefix.finish(batch)).toBe(false)
    expect(prefix.floor).toBe(5)
  })

  it('agrees with a plain count, whatever the order', () => {
    for (let seed = 1; seed < 200; seed++) {
      const prefix = new FinishedPrefix(0, -1)
      const batches = Array.from({ length: 5 }, (_, index) => batchFrom(index * 4, 4))
      const open = batches.flatMap((batch) => [0, 1, 2, 3].map((index) => ({ batch, index })))
      for (const batch of batches) prefix.handOut(batch)
      const done = new Set<number>()
      let state = seed
      while (open.length > 0) {
        state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
        const [next] = open.splice(state % open.length, 1)
        if (next === undefined) break
        prefix.finishOne(next.batch, next.index)
        done.add(next.batch.offsetAt(next.index))
        let floor = 0
        while (done.has(floor)) floor++
        expect(prefix.floor).toBe(floor)
      }
    }
  })
})
