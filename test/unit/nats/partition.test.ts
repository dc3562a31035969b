import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { seededRandom } from 'busbar/testing'
import type { EncodedMessage } from '../../../src/core/message.ts'
import { early } from '../../../src/core/partitions/attempt-state.ts'
import type { Acquired } from '../../../src/core/partitions/attempt-state.ts'
import { PartitionDelivery } from '../../../src/core/partitions/partition-delivery.ts'
import { Partition } from '../../../src/transports/nats/jetstream/partitions/partition.ts'
import {
  AHEAD,
  decodeRecord,
  encodeRecord,
  floorOf,
  ForeignRecordError,
  NOTHING_LEFT,
} from '../../../src/transports/nats/jetstream/partitions/partition-record.ts'
import type { PartitionState } from '../../../src/transports/nats/jetstream/partitions/partition-record.ts'

const FRESH: PartitionState = { ...NOTHING_LEFT, stream: '#1', life: 'l' }

/** As it is stored, and read by the next owner. */
function stored(state: PartitionState): PartitionState {
  const text = encodeRecord({ ...state, owner: 'me', session: 's', version: 1, free: false })
  const { owner, session, version, free, ...read } = decodeRecord(text)
  assert.deepEqual({ owner, session, version, free }, { owner: 'me', session: 's', version: 1, free: false })
  return read
}

/** A member that reads the sequences of a stream which are in its partition. */
class Member {
  readonly partition = new Partition('0', 's', [])
  now = 0

  constructor(state: PartitionState, how: Acquired) {
    this.partition.load(state, how)
  }

  /** As the reader passes on what the server sends. `dueAt`: of messages that were published with a delay. */
  read(seq: number, dueAt?: number): void {
    const known = this.partition.arrived(seq)
    if (known === undefined) return
    const isEarly = dueAt !== undefined && known.notBefore === undefined && dueAt > this.now
    this.partition.push(
      new PartitionDelivery(
        this.partition,
        {} as EncodedMessage,
        seq,
        this.partition.ordinal,
        1,
        isEarly ? early(known, dueAt) : known,
      ),
    )
  }

  take(count: number): PartitionDelivery<Partition>[] {
    return this.partition.take(count, Infinity, this.now, () => undefined)
  }

  commit(free = false): PartitionState {
    const state = stored(this.partition.state(free))
    this.partition.committed(0)
    return state
  }
}

const seqs = (deliveries: readonly PartitionDelivery<Partition>[]): number[] => deliveries.map(({ place }) => place)
const facts = ({ place: seq, attempt, history }: PartitionDelivery<Partition>): unknown[] => [seq, attempt, history]

describe('a partition that changes owners', () => {
  test('continues behind what is settled, and with what was left open', () => {
    const first = new Member(FRESH, 'clean')
    for (const seq of [3, 5, 8, 9, 12]) first.read(seq)
    const [, b, c, d] = first.take(4) as [
      PartitionDelivery<Partition>,
      PartitionDelivery<Partition>,
      PartitionDelivery<Partition>,
      PartitionDelivery<Partition>,
    ]
    first.partition.finish(b)
    c.used = 1
    c.running = true
    d.used = 2
    const record = first.commit()
    assert.equal(floorOf(record), 2)
    const second = new Member(record, 'taken')
    assert.equal(second.partition.readTo, 2)
    for (const seq of [3, 5, 8, 9, 12, 2_000]) second.read(seq)
    assert.deepEqual(second.take(10).map(facts), [
      [3, 1, 'unknown'],
      [8, 2, 'died'],
      // Its last note is from before, and says nothing about how this delivery ended.
      [9, 3, 'unknown'],
      // It may have been handed out since the record.
      [12, 1, 'unknown'],
    ])
    second.commit()
    assert.deepEqual(second.take(10).map(facts), [[2_000, 1, 'new']])
  })

  test('in order: nothing was handed out that is not in the record', () => {
    const first = new Member(FRESH, 'clean')
    for (const seq of [1, 2, 3]) first.read(seq)
    const [a] = first.take(1) as [PartitionDelivery<Partition>]
    first.partition.outstanding.remove(a)
    first.partition.push(a.again(0, undefined, false))
    const second = new Member(first.commit(true), 'clean')
    for (const seq of [1, 2, 3]) second.read(seq)
    assert.deepEqual(second.take(10).map(facts), [
      [1, 1, 'returned'],
      [2, 1, 'new'],
      [3, 1, 'new'],
    ])
  })

  test('and comes back: the attempt that was running here does not count', () => {
    const first = new Member(FRESH, 'clean')
    for (const seq of [1, 2]) first.read(seq)
    const [a] = first.take(2) as [PartitionDelivery<Partition>]
    a.used = 1
    a.running = true
    const record = first.commit()
    assert.deepEqual(seqs(first.partition.lose()), [1, 2])
    first.partition.load(record, 'ours')
    for (const seq of [1, 2, 3]) first.read(seq)
    assert.deepEqual(first.take(10).map(facts), [
      [1, 1, 'returned'],
      [2, 1, 'returned'],
      [3, 1, 'new'],
    ])
  })

  test('keeps delayed messages as spans, however many, and reads them again', () => {
    const first = new Member(FRESH, 'clean')
    for (let seq = 1; seq <= 1_000; seq++) first.read(seq, seq === 500 ? undefined : 100)
    const [middle] = first.take(1_000) as [PartitionDelivery<Partition>]
    assert.deepEqual(seqs([middle]), [500])
    first.partition.finish(middle)
    const record = first.commit()
    assert.deepEqual(record.spans, [
      [1, 499, 499],
      [501, 1_000, 500],
    ])
    const second = new Member(record, 'taken')
    second.now = 200
    for (let seq = 1; seq <= 600; seq++) second.read(seq, seq === 500 ? undefined : 100)
    // What has not been read yet is still known.
    assert.deepEqual(second.partition.state(false).spans, [[601, 1_000, 400, 1]])
    const taken = second.take(1_000)
    assert.equal(taken.length, 599)
    // They may have been handed out since the record: it says nothing about that.
    assert.ok(taken.every(({ place, history }) => history === 'unknown' && place !== 500))
  })

  test.each([
    ['clean', 'new'],
    ['ours', 'returned'],
    ['taken', 'unknown'],
  ] as const)('delayed messages that are due were handed out before only if the owner died (%s)', (how, history) => {
    const first = new Member(FRESH, 'clean')
    for (const seq of [1, 2]) first.read(seq, 100)
    first.take(2)
    const record = first.commit(how === 'clean')
    const second = new Member(record, how)
    second.now = 200
    for (const seq of [1, 2]) second.read(seq, 100)
    assert.deepEqual(second.take(2).map(facts), [
      [1, 1, history],
      [2, 1, history],
    ])
    // One that is read before its time, and waits again, takes no more room than before.
    const third = new Member(record, how)
    third.read(1, 100)
    assert.deepEqual(third.take(1), [])
    const { open, spans } = third.commit()
    assert.deepEqual([open.length, spans.map(([from]) => from)], [0, [1, 2]])
  })

  test('what a dead owner may have handed out stays in doubt when it is handed over unread', () => {
    const first = new Member(FRESH, 'clean')
    for (const seq of [1, 2, 3]) first.read(seq, 100)
    first.take(3)
    const second = new Member(first.commit(), 'taken')
    second.read(1, 100)
    const third = new Member(second.commit(true), 'clean')
    third.now = 200
    for (const seq of [1, 2, 3]) third.read(seq, 100)
    assert.deepEqual(third.take(3).map(facts), [
      [1, 1, 'new'],
      [2, 1, 'unknown'],
      [3, 1, 'unknown'],
    ])
  })

  test('keeps the delay of a message that waits here for its next attempt', () => {
    const first = new Member(FRESH, 'clean')
    for (const seq of [1, 2]) first.read(seq)
    const [a] = first.take(2) as [PartitionDelivery<Partition>]
    // As the runtime notes a failed attempt.
    a.attempt = 2
    a.used = 1
    a.notedBefore = 5_000
    assert.deepEqual(seqs(first.partition.giveBack(100)), [1, 2])
    const second = new Member(first.commit(true), 'clean')
    for (const seq of [1, 2]) second.read(seq)
    const [again, next] = second.take(2) as [PartitionDelivery<Partition>, PartitionDelivery<Partition>]
    assert.deepEqual([again.place, again.attempt, again.notBefore], [1, 2, 5_000])
    assert.deepEqual([next.place, next.attempt, next.notBefore], [2, 1, undefined])
  })

  test('hands out nothing beyond what the last record reserves', () => {
    const member = new Member(FRESH, 'clean')
    for (const seq of [1, 2, 5_000]) member.read(seq)
    assert.deepEqual(seqs(member.take(10)), [1, 2])
    assert.equal(member.partition.isHeldUp, true)
    member.commit()
    assert.deepEqual(seqs(member.take(10)), [5_000])
  })

  test('what was left open and is no longer in the stream is counted', () => {
    const first = new Member(FRESH, 'clean')
    for (const seq of [1, 2, 3]) first.read(seq)
    first.take(3)
    const second = new Member(first.commit(), 'taken')
    second.read(3)
    second.read(7)
    assert.equal(second.partition.missing, 0)
    const third = new Member(first.commit(), 'taken')
    third.read(7)
    assert.equal(third.partition.missing, 3)
  })

  test('a settlement is known to be stored only with the record that was written after it', async () => {
    const member = new Member(FRESH, 'clean')
    member.commit()
    for (const seq of [1, 2]) member.read(seq)
    const [a, b] = member.take(2) as [PartitionDelivery<Partition>, PartitionDelivery<Partition>]
    member.partition.finish(a)
    const first = member.partition.whenStored()
    member.partition.state(false)
    member.partition.finish(b)
    const second = member.partition.whenStored()
    member.partition.committed(0)
    assert.equal(await Promise.race([first, second.then(() => 'second')]), true)
    member.partition.lose()
    assert.equal(await second, false)
  })
})

test('whatever happens in whatever order, nothing is forgotten, overtaken, or handled again once its ack is stored', () => {
  for (let run = 0; run < 300; run++) {
    const random = seededRandom(`partition ${run}`)
    /** What is in the stream: sequences, and when they are due. */
    const stream: { readonly seq: number; readonly dueAt: number | undefined }[] = []
    let [seq, now] = [0, 0]
    /** As the claim of the next owner writes it. */
    const claimed = (state: PartitionState): PartitionState => ({
      ...state,
      reserved: Math.max(state.reserved, state.to + AHEAD),
    })
    let member = new Member(FRESH, 'clean')
    let record = claimed(FRESH)
    /** Acked, as the members saw it; and for certain. */
    let acked = new Set<number>()
    const certain = new Set<number>()
    let read = 0
    const held = new Map<number, PartitionDelivery<Partition>>()
    /** A member had them when it died. */
    const suspects = new Set<number>()
    const commit = (free: boolean): void => {
      record = member.commit(free)
      for (const each of acked) certain.add(each)
    }
    const replace = (how: Acquired): void => {
      member = new Member(record, how)
      record = claimed(record)
      member.now = now
      if (how === 'taken') for (const each of held.keys()) suspects.add(each)
      held.clear()
      acked = new Set(certain)
      read = stream.findIndex((each) => each.seq > member.partition.readTo)
      if (read < 0) read = stream.length
    }
    const pull = (count: number): void => {
      for (let step = 0; step < count && read < stream.length; step++, read++) {
        const { seq: next, dueAt } = stream[read] as { seq: number; dueAt: number | undefined }
        member.read(next, dueAt)
      }
    }
    const fetchDue = (): void => {
      const waiting = Array.from(member.partition.delayed.values())
      for (const delayed of waiting) {
        if (delayed.dueAt > now) continue
        member.partition.delayed.delete(delayed.place)
        const known = { ...delayed, notBefore: undefined }
        member.partition.push(
          new PartitionDelivery(member.partition, {} as EncodedMessage, delayed.place, delayed.ordinal, 1, known),
        )
      }
    }
    const hand = (count: number): void => {
      let last = 0
      for (const delivery of member.take(count)) {
        assert.ok(!certain.has(delivery.place), `run ${run}: ${delivery.place} was acked`)
        assert.ok(!held.has(delivery.place), `run ${run}: ${delivery.place} is here already`)
        assert.ok(delivery.place > last, `run ${run}: out of order`)
        last = delivery.place
        if (suspects.delete(delivery.place))
          assert.match(delivery.history, /unknown|died/, `run ${run}: ${delivery.place} may have killed its member`)
        held.set(delivery.place, delivery)
      }
    }
    const steps: readonly (() => void)[] = [
      () =>
        stream.push({
          seq: (seq += random.integer(1, 400)),
          dueAt: random.chance(0.2) ? now + random.integer(1, 50) : undefined,
        }),
      () => stream.push({ seq: (seq += random.integer(1, 3)), dueAt: undefined }),
      () => pull(random.integer(1, 8)),
      () => hand(random.integer(1, 8)),
      () => {
        for (const [key, delivery] of [...held].slice(0, random.integer(0, 4))) {
          held.delete(key)
          member.partition.finish(delivery)
          if (random.chance(0.6)) acked.add(key)
          else if (random.chance(0.5)) member.partition.push(delivery.again(delivery.attempt, undefined, false))
          else member.partition.putAside(delivery.again(delivery.attempt, now + 20, false), now + 20, false)
        }
      },
      () => {
        for (const delivery of held.values())
          if (random.chance(0.3)) [delivery.used, delivery.running] = [delivery.attempt, true]
      },
      () => commit(false),
      () => {
        now += random.integer(1, 40)
        member.now = now
        fetchDue()
      },
      () => {
        member.partition.dropAhead()
        read = stream.findIndex((each) => each.seq > member.partition.readTo)
        if (read < 0) read = stream.length
      },
      () => {
        if (!random.chance(0.3)) return
        if (random.chance(0.5)) return replace('taken')
        member.partition.giveBack(now)
        commit(true)
        replace('clean')
      },
    ]
    for (let step = 0; step < 400; step++) random.pick([...steps])()
    // In the end everything is handled.
    now += 1_000
    member.now = now
    for (let round = 0; round < 20; round++) {
      fetchDue()
      pull(stream.length)
      commit(false)
      hand(stream.length)
      for (const [key, delivery] of held) {
        member.partition.finish(delivery)
        acked.add(key)
      }
      held.clear()
    }
    commit(false)
    assert.deepEqual(
      stream.filter((each) => !certain.has(each.seq)),
      [],
      `run ${run}`,
    )
    assert.deepEqual([record.open, record.spans], [[], []])
    assert.equal(record.to, stream.at(-1)?.seq ?? 0)
  }
})

describe('a record', () => {
  test('is refused by name when another version has written it, and when it is none', () => {
    const text = encodeRecord({ ...FRESH, owner: 'me', session: 's', version: 1, free: false })
    assert.throws(
      () => decodeRecord(text.replace('"v":1', '"v":2')),
      (error: unknown) => error instanceof ForeignRecordError && /layout 2 instead of 1/.test(error.message),
    )
    for (const other of ['', '{', 'null', '[]', '{"v":1}']) assert.throws(() => decodeRecord(other), ForeignRecordError)
  })

  test('takes a few bytes for each message that is open', () => {
    const member = new Member(FRESH, 'clean')
    for (let seq = 1; seq <= 200; seq++) member.read(1_000_000 + seq * 3)
    member.partition.reserved = Infinity
    member.take(200)
    const text = encodeRecord({ ...member.partition.state(false), owner: 'me', session: 's', version: 1, free: false })
    assert.ok(text.length < 600, text)
  })
})

test('attempts that have ended here count when a partition comes back, although the server has not stored them', () => {
  const member = new Member(FRESH, 'clean')
  for (const seq of [1, 2, 3, 4]) member.read(seq)
  const [noted, running] = member.take(2) as [PartitionDelivery<Partition>, PartitionDelivery<Partition>]
  noted.used = 1
  running.used = 1
  running.running = true
  const record = member.commit()
  const [later] = member.take(1) as [PartitionDelivery<Partition>]
  // The server does not answer any more.
  noted.used = 3
  running.used = 2
  later.used = 2
  member.partition.lose()
  member.partition.load(record, 'ours')
  // Lost again, before it has been read.
  member.partition.lose()
  member.partition.load(record, 'ours')
  for (const seq of [1, 2, 3, 4]) member.read(seq)
  assert.deepEqual(member.take(4).map(facts), [
    [1, 4, 'returned'],
    [2, 2, 'returned'],
    [3, 3, 'returned'],
    [4, 1, 'new'],
  ])
  // Another owner has counted on.
  member.partition.lose()
  member.partition.load(record, 'taken')
  member.read(1)
  assert.deepEqual(
    member.take(1).map(({ attempt }) => attempt),
    [2],
  )
})
