import { describe, expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import type { Random } from 'busbar/testing'
import { NO_HEADERS } from '../../../src/core/message.ts'
import type { KafkaRecord } from '../../../src/kafka/index.ts'
import { decodeRecord, MAX_RECORD_CHARACTERS } from '../../../src/transports/kafka/partitions/commit-record.ts'
import type { CommitRecord } from '../../../src/transports/kafka/partitions/commit-record.ts'
import { fitRecord } from '../../../src/transports/kafka/partitions/fit-record.ts'
import { Partition } from '../../../src/transports/kafka/partitions/partition.ts'
import type { Delayed, PartitionDelivery, TakeHost } from '../../../src/transports/kafka/partitions/partition.ts'
import type { Decoded } from '../../../src/transports/kafka/wire/mapping.ts'

const NOW = 1_700_000_000_000

function recordAt(offset: number): KafkaRecord {
  return { offset, keySize: 1, valueSize: 10 } as KafkaRecord
}

/** The group `g`: records are for it, but for those that `others` names. */
function hostOf(
  delays: Delayed[],
  options: {
    readonly others?: (offset: number) => boolean
    readonly dueAt?: (offset: number) => number | undefined
  } = {},
): TakeHost {
  return {
    decode({ offset }): Decoded | undefined {
      if (options.others?.(offset) === true) return undefined
      const message = { id: String(offset), topic: 't', key: 'k', body: Buffer.alloc(10), headers: NO_HEADERS }
      return {
        message: message as never,
        group: undefined,
        deliverAt: options.dueAt?.(offset),
        used: 0,
        isRemoval: false,
      }
    },
    delay: (delivery, dueAt, isAsRead) => {
      const delayed = delivery.owner.putAside(delivery, dueAt, true)
      if (isAsRead) delivery.owner.keptAsRead(delayed)
      delays.push(delayed)
    },
  }
}

function recordOf(partition: Partition, free = false): CommitRecord {
  const record = { ...partition.record(free), owner: free ? '' : 'AAAAAAAA' }
  const { text } = fitRecord(record, MAX_RECORD_CHARACTERS)
  partition.measured(text.length, MAX_RECORD_CHARACTERS)
  return decodeRecord(text, record.floor) as CommitRecord
}

/** As the client delivers them, from a log that ends there. */
function arrive(
  partition: Partition,
  records: readonly KafkaRecord[],
  nextOffset: number,
  leaderEpoch: number,
  end = Infinity,
): void {
  partition.arrived(records, nextOffset, leaderEpoch)
  if (!partition.isTrusted && partition.compare(end) > 0) partition.distrust()
}

const NEW: CommitRecord = {
  floor: 0,
  topic: 0,
  owner: '',
  free: true,
  to: 0,
  claim: 0,
  moved: 0,
  partitions: 1,
  open: [],
  notes: [],
}

function loaded(record: CommitRecord = NEW, how: 'clean' | 'ours' | 'taken' = 'clean'): Partition {
  const partition = new Partition('t', 0)
  partition.load(record, how)
  return partition
}

/** Stores what there is, as the broker would. */
function store(partition: Partition): CommitRecord {
  const record = recordOf(partition)
  partition.committed()
  return record
}

describe('a partition', () => {
  it('hands out nothing before its claim is stored, and nothing beyond it', () => {
    const partition = loaded()
    arrive(
      partition,
      Array.from({ length: 100 }, (_, at) => recordAt(at)),
      100,
      0,
      100,
    )
    const host = hostOf([])
    expect(partition.take(100, Infinity, NOW, host)).toEqual([])
    expect(partition.isHeldUp).toBe(true)
    const { claim } = store(partition)
    expect(claim).toBe(64)
    expect(partition.take(100, Infinity, NOW, host).map(({ place }) => place)).toEqual(
      Array.from({ length: 64 }, (_, at) => at),
    )
  })

  it('keeps the floor before the first unfinished, and passes what is no message', () => {
    const partition = loaded()
    store(partition)
    arrive(partition, [recordAt(0), recordAt(1), recordAt(2), recordAt(5)], 9, 3)
    const taken = partition.take(10, Infinity, NOW, hostOf([], { others: (offset) => offset === 1 }))
    expect(taken.map(({ place }) => place)).toEqual([0, 2, 5])
    expect(partition.take(10, Infinity, NOW, hostOf([]))).toEqual([])
    partition.finish(taken[1] as PartitionDelivery)
    expect(recordOf(partition)).toMatchObject({
      floor: 0,
      to: 9,
      open: [
        [0, 0],
        [5, 5],
      ],
    })
    partition.finish(taken[0] as PartitionDelivery)
    expect(recordOf(partition)).toMatchObject({ floor: 5, to: 9, open: [[5, 5]] })
    partition.finish(taken[2] as PartitionDelivery)
    expect(recordOf(partition)).toMatchObject({ floor: 9, to: 9, open: [] })
    expect(partition.leaderEpoch).toBe(3)
  })

  it('takes a gap in the offsets for a part of a run', () => {
    const partition = loaded()
    store(partition)
    arrive(partition, [0, 2, 4, 6].map(recordAt), 8, 0, 8)
    partition.take(10, Infinity, NOW, hostOf([]))
    expect(recordOf(partition).open).toEqual([[0, 6]])
  })

  it('counts of what retention has removed only what was not finished, and keeps what it has', () => {
    const record = {
      ...NEW,
      floor: 2,
      to: 20,
      claim: 20,
      open: [
        [2, 2],
        [8, 9],
        [15, 15],
      ] as const,
    }
    const partition = loaded(record)
    store(partition)
    arrive(partition, [recordAt(2)], 3, 0)
    const [first] = partition.take(1, Infinity, NOW, hostOf([]))
    // 8 and 9 are lost; 3 to 7 were finished.
    expect(partition.skipped(3, 12)).toBe(2)
    arrive(partition, [recordAt(12), recordAt(15), recordAt(20)], 21, 0)
    expect(partition.take(10, Infinity, NOW, hostOf([])).map(({ place }) => place)).toEqual([15, 20])
    expect(recordOf(partition)).toMatchObject({ floor: 2, to: 21 })
    partition.finish(first as PartitionDelivery)
    expect(recordOf(partition)).toMatchObject({ floor: 15 })
    // Beyond what the record knows, all of it was open.
    expect(partition.skipped(21, 25)).toBe(4)
  })

  it('does not believe a record that knows more than the log has', () => {
    const record = { ...NEW, to: 2_000_000_000, claim: 2_000_000_000, open: [[0, 0]] as const }
    const partition = loaded(record)
    store(partition)
    partition.arrived([recordAt(0), recordAt(1)], 2, 0)
    expect(partition.compare(2)).toBe(2_000_000_000 - 2)
    // Until somebody decides, nothing is handed out.
    expect(partition.take(10, Infinity, NOW, hostOf([]))).toEqual([])
    partition.distrust()
    store(partition)
    expect(partition.take(10, Infinity, NOW, hostOf([])).map(({ place }) => place)).toEqual([0, 1])
  })

  it('stops when its record has no room for one more, and goes on when there is', () => {
    const partition = loaded()
    store(partition)
    const taken: PartitionDelivery[] = []
    arrive(
      partition,
      Array.from({ length: 6_000 }, (_, at) => recordAt(2 * at)),
      12_000,
      0,
      12_000,
    )
    const takeAll = (): void => {
      for (;;) {
        const some = partition.take(100, Infinity, NOW, hostOf([]))
        taken.push(...some)
        // Every second one is finished, so that no two that are not follow each other.
        for (const delivery of some) if ((delivery.place / 2) % 2 === 0) partition.finish(delivery)
        if (some.length > 0 || partition.isHeldUp) store(partition)
        else break
      }
    }
    takeAll()
    expect(partition.hasRoom).toBe(false)
    expect(taken.length).toBeLessThan(6_000)
    const { open, to } = recordOf(partition)
    expect([open.length, to]).toEqual([partition.outstanding.size, partition.to])
    const before = taken.length
    for (const delivery of partition.outstanding.toArray()) partition.finish(delivery)
    store(partition)
    takeAll()
    expect(taken.length).toBeGreaterThan(before)
  })
})

describe('a record', () => {
  it('goes with a transaction no further than the partition has been read, and knows what is beyond', () => {
    const partition = loaded({ ...NEW, to: 100, claim: 100, open: [[0, 0]] }, 'taken')
    store(partition)
    arrive(partition, [recordAt(0)], 1, 0)
    const taken = partition.take(10, Infinity, NOW, hostOf([]))
    const { floor, to, open } = partition.record(false, new Set(taken))
    expect([floor, to, open]).toEqual([1, 100, []])
  })

  it('has room for the times of all retries, also of those that were noted before without one', () => {
    const partition = loaded()
    store(partition)
    const count = 4_000
    arrive(
      partition,
      Array.from({ length: count }, (_, at) => recordAt(at)),
      count,
      0,
      count,
    )
    const out: PartitionDelivery[] = []
    for (;;) {
      const some = partition.take(50, Infinity, NOW, hostOf([]))
      out.push(...some)
      // All of them hang.
      for (const delivery of out) [delivery.used, delivery.running] = [1, true]
      if (some.length > 0 || partition.isHeldUp) store(partition)
      else break
    }
    expect(out.length).toBeGreaterThan(300)
    // And fail: each key waits for its own time.
    for (const [at, delivery] of out.entries())
      [delivery.running, delivery.notedBefore] = [false, NOW + ((at * 7_919) % 3_600) * 1_000]
    const { notes, to } = recordOf(partition)
    expect([notes.length, to]).toEqual([out.length, partition.to])
  })

  it('has room for the attempts of all that was handed out', () => {
    const partition = loaded()
    store(partition)
    const count = 20_000
    arrive(
      partition,
      Array.from({ length: count }, (_, at) => recordAt(at)),
      count,
      0,
      count,
    )
    for (;;) {
      const some = partition.take(200, Infinity, NOW, hostOf([]))
      // One of three hangs.
      for (const delivery of some) if (delivery.place % 3 > 0) partition.finish(delivery)
      if (some.length > 0 || partition.isHeldUp) store(partition)
      else break
    }
    for (const delivery of partition.outstanding.toArray()) {
      delivery.used = 1
      delivery.running = true
    }
    const { to, notes } = recordOf(partition)
    expect([to, notes.length]).toEqual([partition.to, partition.outstanding.size])
  })
})

/** What one message has been through, as the world outside of its owners knows. */
interface Story {
  /** Handed out by somebody. */
  isOut: boolean
  /** Its end is stored. */
  isStored: boolean
  isFinished: boolean
  /** Attempts that are stored, for certain. */
  used: number
}

/** Owners come, hand out, finish, commit, crash and hand over, at random. */
class World {
  readonly #random: Random
  readonly #size: number
  readonly stories: readonly Story[]
  #partition: Partition
  #stored: CommitRecord = NEW
  /** Nothing is in the hands of the owner that has read this far. */
  #readTo = 0
  #now = NOW
  /** What is stored was written by this owner. */
  #isOurs = false
  readonly #delays: Delayed[] = []

  constructor(random: Random, size: number) {
    this.#random = random
    this.#size = size
    this.stories = Array.from({ length: size }, () => ({ isOut: false, isStored: false, isFinished: false, used: 0 }))
    this.#partition = loaded(NEW)
  }

  get #out(): readonly PartitionDelivery[] {
    return this.#partition.outstanding.toArray()
  }

  step(): void {
    const dice = this.#random.next()
    if (dice < 0.25) this.#read()
    else if (dice < 0.5) this.#take()
    else if (dice < 0.7) this.#settle()
    else if (dice < 0.78) this.#note()
    else if (dice < 0.92) this.#commit()
    else if (dice < 0.95) this.#change('taken')
    else if (dice < 0.97) this.#change('clean')
    else if (dice < 0.98) this.#change('ours')
    else this.#due()
  }

  /** Until everything is finished; fails when something is not handed out any more. */
  finish(): void {
    for (let round = 0; this.stories.some(({ isFinished }) => !isFinished); round++) {
      if (round > 10_000) throw new Error(`left: ${this.stories.findIndex(({ isFinished }) => !isFinished)}`)
      this.#read()
      this.#commit()
      this.#take()
      this.#due()
      for (const delivery of this.#out) this.#end(delivery)
    }
    this.#commit()
    this.#commit()
    expect(this.#stored.floor).toBe(this.#size)
  }

  #read(): void {
    const count = Math.min(this.#size - this.#readTo, 1 + Math.floor(this.#random.next() * 20))
    if (count === 0) return
    const records = Array.from({ length: count }, (_, at) => recordAt(this.#readTo + at))
    this.#readTo += count
    arrive(this.#partition, records, this.#readTo, 0, this.#size)
  }

  #take(): void {
    const host = hostOf(this.#delays)
    for (const { place: offset, attempt, history } of this.#partition.take(
      1 + Math.floor(this.#random.next() * 10),
      Infinity,
      this.#now,
      host,
    )) {
      const story = this.stories[offset] as Story
      expect(story.isStored, `${offset} was finished`).toBe(false)
      expect(offset, 'claimed').toBeLessThan(this.#stored.claim)
      expect(attempt, 'attempts never fall').toBeGreaterThan(story.used)
      if (story.isOut) expect(history, `${offset} was out`).not.toBe('new')
      story.isOut = true
    }
  }

  #settle(): void {
    for (const delivery of this.#out) {
      if (this.#random.next() < 0.5) continue
      const dice = this.#random.next()
      if (dice < 0.6) this.#end(delivery)
      else {
        this.#partition.finish(delivery)
        if (dice < 0.8) this.#partition.push(delivery.again(delivery.attempt, undefined, false))
        else {
          const again = delivery.again(delivery.attempt, this.#now + 1_000, false)
          this.#delays.push(this.#partition.putAside(again, this.#now + 1_000, true))
        }
      }
    }
  }

  #end(delivery: PartitionDelivery): void {
    this.#partition.finish(delivery)
    ;(this.stories[delivery.place] as Story).isFinished = true
  }

  #note(): void {
    for (const delivery of this.#out) {
      if (this.#random.next() < 0.7) continue
      delivery.used = delivery.attempt
      delivery.running = this.#random.next() < 0.5
      // It has failed, and is tried again here.
      if (!delivery.running) delivery.attempt++
      this.#partition.changes++
    }
  }

  #commit(): void {
    this.#isOurs = true
    this.#stored = recordOf(this.#partition)
    this.#partition.committed()
    this.#learn()
  }

  /** What is stored is certain. */
  #learn(): void {
    const { to, open, notes, floor } = this.#stored
    for (const [offset, story] of this.stories.entries()) {
      const isOpen = open.some(([first, last]) => offset >= first && offset <= last)
      if (offset < to && !isOpen) story.isStored = true
      if (story.isStored && !story.isFinished) throw new Error(`${offset} is stored as finished, and is not`)
      if (!story.isFinished && offset < floor)
        throw new Error(`the floor ${floor} is beyond ${offset}, which is not finished`)
    }
    // Of one that runs, the attempt may not count: its process may only have lost the partition.
    for (const { offset, used, running } of notes) {
      const story = this.stories[offset] as Story
      story.used = Math.max(story.used, running ? used - 1 : used)
    }
  }

  #change(wanted: 'taken' | 'clean' | 'ours'): void {
    // As the record says.
    const how =
      wanted === 'clean' ? 'clean' : this.#stored.free ? 'clean' : wanted === 'ours' && !this.#isOurs ? 'taken' : wanted
    const isSame = wanted === 'ours'
    if (wanted === 'clean') {
      for (const delivery of this.#partition.giveBack(this.#now)) expect(delivery.lost).toBe(true)
      this.#stored = recordOf(this.#partition, true)
      this.#partition.committed()
      this.#learn()
    }
    // What was finished, but not stored, comes again.
    for (const story of this.stories) story.isFinished = story.isStored
    this.#isOurs = false
    if (isSame) this.#partition.lose()
    else this.#partition = new Partition('t', 0)
    this.#delays.length = 0
    this.#partition.load(this.#stored, how)
    this.#readTo = this.#stored.floor
  }

  #due(): void {
    this.#now += 2_000
    for (const delayed of this.#delays.splice(0)) {
      if (this.#partition.delayed.get(delayed.place) === delayed) this.#partition.due(delayed)
    }
  }
}

describe('owners that come, crash and hand over at random', () => {
  it.each(Array.from({ length: 40 }, (_, seed) => seed))(
    'lose nothing, repeat nothing that is stored (seed %i)',
    (seed) => {
      const world = new World(seededRandom(seed), 150)
      for (let step = 0; step < 600; step++) world.step()
      world.finish()
    },
  )
})
