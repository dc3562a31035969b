import assert from 'node:assert/strict'
import { errors as natsErrors } from '@nats-io/transport-node'
import { describe, test } from 'vitest'
import { ConnectionError } from 'busbar'
import { manualClock } from 'busbar/testing'
import type { Incoming } from '../../../src/transports/nats/connection/incoming.ts'
import { PartitionLeases } from '../../../src/transports/nats/jetstream/partitions/partition-leases.ts'
import type { LeasesHost } from '../../../src/transports/nats/jetstream/partitions/partition-leases.ts'
import {
  decodeRecord,
  encodeRecord,
  NOTHING_LEFT,
} from '../../../src/transports/nats/jetstream/partitions/partition-record.ts'
import type { PartitionRecord } from '../../../src/transports/nats/jetstream/partitions/partition-record.ts'
import type { StoredAt } from '../../../src/transports/nats/jetstream/partitions/partition-store.ts'
import { GRACE_MS, SessionLeases } from '../../../src/transports/nats/jetstream/partitions/session-leases.ts'
import type { StateRecords } from '../../../src/transports/nats/jetstream/server/state-records.ts'
import type { Session } from '../../../src/transports/nats/connection/session.ts'

const LEASE_MS = 3_000

const STATE = { ...NOTHING_LEFT, stream: '#1', life: 'l' }

interface Stored {
  readonly seq: number
  readonly text: string
}

/** A write on its way: reaches the server, and is answered, when the test says so. */
interface Write {
  store(): void
  answer(): void
  /** As if another record had been the last one. */
  refuse(): void
  /** As if the connection had been lost before the answer. */
  fail(): void
}

/** The records on the server: of the partition, and of the leases of sessions. */
class Records {
  readonly stored = new Map<string, Stored>()
  /** Writes of partitions wait for the test. */
  isManual = false
  readonly writes: Write[] = []
  #seq = 0

  /** As another member writes it. */
  set(subject: string, text: string): void {
    this.stored.set(subject, { seq: ++this.#seq, text })
  }

  own(owner: string, session: string, free = false, unit = '0'): void {
    this.set(unit, encodeRecord({ ...STATE, owner, session, version: 1, free }))
  }

  forgetAll(): void {
    this.stored.clear()
    this.#seq = 0
  }

  get(subject: string): PartitionRecord | undefined {
    const record = this.stored.get(subject)
    return record === undefined ? undefined : decodeRecord(record.text)
  }

  write(subject: string, text: string, expected: number): Promise<StoredAt | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<StoredAt | undefined>()
    let seq: number | undefined
    const write: Write = {
      store: () => {
        if ((this.stored.get(subject)?.seq ?? 0) !== expected) return
        this.set(subject, text)
        seq = this.#seq
      },
      answer: () => resolve(seq === undefined ? undefined : { seq, spare: 0 }),
      refuse: () => resolve(undefined),
      fail: () => reject(new ConnectionError('lost')),
    }
    if (this.isManual) this.writes.push(write)
    else {
      write.store()
      write.answer()
    }
    return promise
  }
}

/** One member of a group, which is called `me`. */
class Bench {
  readonly clock = manualClock()
  readonly leases = new Records()
  isConnected = true
  /** Time that passed while no timer could run. */
  frozenMs = 0
  /** Whether the other members answer when they are asked. */
  areOthersThere = true
  /** Subjects of members that were asked. */
  readonly asked: string[] = []
  /** What they answer. */
  answers: Promise<void> = Promise.resolve()
  /** Renewals are answered after this. */
  renewals: Promise<void> = Promise.resolve()
  /** Kinds of notices to the other members. */
  readonly said: string[] = []
  /** What the owner would write: how far it has come. */
  to = 0
  /** How far it was when its last record was stored. */
  storedTo = 0
  readonly ownership: PartitionLeases
  readonly session: SessionLeases
  readonly acquired: string[] = []
  readonly revoked: string[] = []
  /** What was to be handed over. */
  readonly released: string[] = []
  /** Ends the handlers of the partition that is being released. */
  endRelease: () => void = () => undefined
  #heard: ((message: Incoming) => void) | undefined
  #writtenTo = 0

  constructor(partitions = 1) {
    // oxlint-disable-next-line typescript/no-this-alias -- for the getter
    const bench = this
    const session = {
      get ready() {
        return bench.isConnected
      },
      options: { leaseMs: LEASE_MS },
      host: {
        clock: {
          now: () => this.clock.now(),
          monotonic: () => this.clock.monotonic() + this.frozenMs,
          setTimer: (delayMs: number, callback: () => void) => this.clock.setTimer(delayMs, callback),
        },
      },
      connection: { isClosed: () => false },
      subscribe: (_subject: string, receive: (message: Incoming) => void) => {
        this.#heard ??= receive
        return { unsubscribe: () => undefined }
      },
      writeBuffer: {
        publish: (_subject: string, _reply: string, body: Uint8Array) => {
          if (bench.isConnected) this.said.push((JSON.parse(Buffer.from(body).toString()) as { kind: string }).kind)
        },
      },
      request: (subject: string) => {
        this.asked.push(subject)
        return this.areOthersThere ? this.answers : Promise.reject(new natsErrors.NoRespondersError(subject))
      },
      trouble: () => undefined,
      error: (error: unknown) => assert.ok(ConnectionError.is(error), String(error)),
    } as unknown as Session
    const records = {
      leaseSubject: (id: string) => `session.${id}`,
      readLease: (subject: string) => Promise.resolve(this.leases.stored.get(subject)),
      writeLease: async (id: string, text: string) => {
        if (!bench.isConnected) throw new Error('away')
        this.leases.set(`session.${id}`, text)
        await this.renewals
      },
    } as unknown as StateRecords
    this.session = new SessionLeases(session, records, 'mine')
    const host: LeasesHost = {
      session,
      leases: this.session,
      store: {
        read: (unit: string) =>
          Promise.resolve({
            at: { seq: this.leases.stored.get(unit)?.seq ?? 0, spare: 0 },
            record: this.leases.get(unit),
          }),
        write: (unit: string, text: string, { seq }: StoredAt) => this.leases.write(unit, text, seq),
      } as unknown as LeasesHost['store'],
      memberId: 'me',
      isNew: false,
      noticeSubject: 'members',
      initial: () => STATE,
      state: () => {
        this.#writtenTo = this.to
        return { ...STATE, to: this.to }
      },
      committed: () => void (this.storedTo = this.#writtenTo),
      acquire: (unit, _state, how) => void this.acquired.push(`${unit} ${how}`),
      release: (unit) => {
        this.released.push(unit)
        return new Promise<void>((resolve) => (this.endRelease = resolve))
      },
      revoke: (units) => void this.revoked.push(...units),
      changed: () => undefined,
      moved: () => undefined,
    }
    this.ownership = new PartitionLeases(
      host,
      Array.from({ length: partitions }, (_, at) => String(at)),
    )
  }

  async start(): Promise<void> {
    const started = this.ownership.start()
    await this.clock.advance(25)
    await started
  }

  hear(id: string, kind: string, more: object = {}): void {
    const notice = { id, kind, session: `of ${id}`, ageMs: 60_000, ...more }
    this.#heard?.({ text: JSON.stringify(notice), reply: '' } as Incoming)
  }

  /** Lets time pass, with a renewal of the lease of each of those each time that ours is renewed. */
  async live(ms: number, others: readonly string[] = []): Promise<void> {
    for (let left = ms; left > 0; left -= LEASE_MS / 3) {
      for (const id of others) this.leases.set(`session.of ${id}`, JSON.stringify({ leaseMs: LEASE_MS }))
      await this.clock.advance(Math.min(left, LEASE_MS / 3))
      await settled()
    }
  }
}

/** All promises that are about to settle have. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

const RENEWED = JSON.stringify({ leaseMs: LEASE_MS })

describe('a partition that is handed over while a record of it is on its way', () => {
  test('is freed after that one', async () => {
    const bench = new Bench()
    const { leases, ownership } = bench
    await bench.start()
    assert.deepEqual(ownership.owned, ['0'])
    // Comes first by its name, so the only partition is due to it.
    bench.hear('a', 'join')
    await settled()
    leases.isManual = true
    const commit = ownership.commit('0')
    await settled()
    bench.endRelease()
    await settled()
    assert.equal(leases.writes.length, 1, 'one at a time')
    leases.isManual = false
    leases.writes[0]?.store()
    leases.writes[0]?.answer()
    assert.equal(await commit, true)
    await settled()
    assert.equal(leases.get('0')?.free, true)
    assert.deepEqual(ownership.owned, [])
  })
})

describe('a partition that is lost while it is handed over, and claimed again', () => {
  async function claimedAgain(): Promise<{ readonly bench: Bench; readonly endFormer: () => void }> {
    const bench = new Bench()
    await bench.start()
    bench.hear('a', 'join')
    await settled()
    const endFormer = bench.endRelease
    bench.isConnected = false
    await bench.clock.advance(LEASE_MS)
    await settled()
    assert.deepEqual(bench.revoked, ['0'])
    bench.isConnected = true
    bench.hear('a', 'bye')
    bench.ownership.up()
    await settled()
    assert.deepEqual(bench.acquired, ['0 clean', '0 ours'])
    return { bench, endFormer }
  }

  test('is not freed by the former handover', async () => {
    const { bench, endFormer } = await claimedAgain()
    endFormer()
    await settled()
    assert.deepEqual(bench.ownership.owned, ['0'])
    assert.equal(bench.leases.get('0')?.free, false)
  })

  test('is not freed by it while it is handed over once more', async () => {
    const { bench, endFormer } = await claimedAgain()
    bench.hear('a', 'join')
    await settled()
    assert.notEqual(bench.endRelease, endFormer)
    endFormer()
    await settled()
    assert.equal(bench.leases.get('0')?.free, false)
    bench.endRelease()
    await settled()
    assert.equal(bench.leases.get('0')?.free, true)
  })
})

test('a partition whose claim is answered while the member closes is freed', async () => {
  const bench = new Bench()
  const { leases, ownership } = bench
  leases.isManual = true
  void bench.start()
  await bench.clock.advance(25)
  await settled()
  const [claim] = leases.writes as [Write]
  const closed = ownership.close()
  claim.store()
  leases.isManual = false
  claim.answer()
  await closed
  assert.equal(leases.get('0')?.free, true)
  assert.deepEqual(bench.acquired, [])
})

describe('a partition of a member that is silent', () => {
  test.each([false, true])(
    'is left alone for as long as its lease may last; the server has lost the lease: %s',
    async (isLost) => {
      const bench = new Bench()
      bench.leases.own('other', 'theirs')
      bench.leases.set('session.theirs', JSON.stringify({ leaseMs: LEASE_MS }))
      await bench.start()
      if (isLost) bench.leases.stored.delete('session.theirs')
      await bench.live(LEASE_MS - 1)
      assert.deepEqual(bench.ownership.owned, [])
      await bench.live(LEASE_MS + GRACE_MS)
      assert.deepEqual(bench.acquired, ['0 taken'])
    },
  )

  test('stays its own while its session renews its lease', async () => {
    const bench = new Bench()
    bench.leases.own('other', 'theirs')
    await bench.start()
    for (let round = 0; round < 12; round++) {
      bench.leases.set('session.theirs', JSON.stringify({ leaseMs: LEASE_MS }))
      await bench.live(LEASE_MS / 3)
    }
    assert.deepEqual(bench.ownership.owned, [])
  })
})

test('a member that leaves without a connection gives back its partitions when there is one', async () => {
  const bench = new Bench()
  await bench.start()
  bench.isConnected = false
  await bench.ownership.close()
  assert.equal(bench.leases.get('0')?.free, false)
  bench.isConnected = true
  bench.session.up()
  await settled()
  assert.equal(bench.leases.get('0')?.free, true)
})

describe('a partition that was lost while its member was out of reach, and is due to another one', () => {
  async function lost(): Promise<Bench> {
    const bench = new Bench()
    await bench.start()
    bench.hear('a', 'join')
    await settled()
    bench.isConnected = false
    await bench.clock.advance(LEASE_MS)
    await settled()
    assert.deepEqual(bench.revoked, ['0'])
    bench.isConnected = true
    return bench
  }

  test('is handed over: as long as the session lives, no other member could take it', async () => {
    const bench = await lost()
    bench.ownership.up()
    // It answers.
    bench.hear('a', 'members')
    await settled()
    assert.deepEqual(bench.acquired, ['0 clean', '0 ours'])
    bench.endRelease()
    await settled()
    assert.equal(bench.leases.get('0')?.free, true)
    assert.deepEqual(bench.ownership.owned, [])
  })

  test('has no session any more when the member closes', async () => {
    const bench = await lost()
    await bench.ownership.close()
    bench.session.up()
    await settled()
    assert.equal(bench.leases.get('0')?.session, '')
  })
})

test('a partition of a dead member, claimed while this one closes, is left as it was found', async () => {
  const bench = new Bench()
  const { leases, ownership } = bench
  leases.own('dead', '')
  leases.isManual = true
  void bench.start()
  await bench.clock.advance(25)
  await settled()
  const [claim] = leases.writes as [Write]
  const closed = ownership.close()
  claim.store()
  leases.isManual = false
  claim.answer()
  await closed
  await settled()
  const { owner, free } = leases.get('0') as PartitionRecord
  assert.deepEqual([owner, free], ['dead', false])
})

describe('the owner of a partition', () => {
  test('keeps it when the server has lost its record', async () => {
    const bench = new Bench()
    await bench.start()
    bench.leases.forgetAll()
    assert.equal(await bench.ownership.commit('0'), true)
    assert.equal(bench.leases.get('0')?.owner, 'me')
    assert.deepEqual(bench.revoked, [])
  })

  test('learns with its next record that another member has taken it', async () => {
    const bench = new Bench()
    await bench.start()
    bench.leases.own('other', 'theirs')
    assert.equal(await bench.ownership.commit('0'), false)
    assert.deepEqual(bench.revoked, ['0'])
    assert.equal(bench.leases.get('0')?.owner, 'other')
  })

  test('takes a record that was stored without an answer for its own', async () => {
    const bench = new Bench()
    await bench.start()
    bench.leases.isManual = true
    const commit = bench.ownership.commit('0')
    await settled()
    const [write] = bench.leases.writes as [Write]
    write.store()
    // It is sent once more, because its answer was lost.
    write.refuse()
    assert.equal(await commit, true)
    assert.deepEqual(bench.revoked, [])
  })
})

describe('a record that was stored although its answer was lost with the connection', () => {
  test('does not stand for the next one, which says more', async () => {
    const bench = new Bench()
    await bench.start()
    bench.leases.isManual = true
    bench.to = 5
    const first = bench.ownership.commit('0')
    await settled()
    bench.leases.writes[0]?.store()
    bench.leases.writes[0]?.fail()
    await assert.rejects(first)
    bench.leases.isManual = false
    bench.to = 9
    assert.equal(await bench.ownership.commit('0'), true)
    assert.equal(bench.storedTo, 9)
    assert.equal(bench.leases.get('0')?.to, 9)
    assert.deepEqual(bench.revoked, [])
  })

  test('does not stand for one that frees the partition', async () => {
    const bench = new Bench()
    await bench.start()
    bench.leases.isManual = true
    const first = bench.ownership.commit('0')
    await settled()
    bench.leases.writes[0]?.store()
    bench.leases.writes[0]?.fail()
    await assert.rejects(first)
    bench.leases.isManual = false
    bench.hear('a', 'join')
    await settled()
    bench.endRelease()
    await settled()
    assert.deepEqual(bench.ownership.owned, [])
    assert.equal(bench.leases.get('0')?.free, true)
  })
})

describe('a claim that was stored although its answer was lost', () => {
  for (const [how, lose] of [
    ['with the connection', (write: Write) => write.fail()],
    ['and was sent once more', (write: Write) => write.refuse()],
  ] as const)
    test(`${how} is given back when the partition is due to another member by then`, async () => {
      const bench = new Bench()
      const { leases } = bench
      leases.isManual = true
      const started = bench.start()
      await bench.clock.advance(25)
      await settled()
      const [claim] = leases.writes as [Write]
      claim.store()
      bench.hear('a', 'join')
      leases.isManual = false
      lose(claim)
      await started
      await settled()
      bench.ownership.up()
      await settled()
      bench.endRelease()
      await settled()
      assert.equal(leases.get('0')?.free, true)
      assert.deepEqual(bench.ownership.owned, [])
    })
})

test('a process that was frozen for longer than its lease loses what it had, also if the answer to a renewal comes first', async () => {
  const bench = new Bench()
  await bench.start()
  const answer = Promise.withResolvers<void>()
  bench.renewals = answer.promise
  await bench.clock.advance(LEASE_MS / 3)
  bench.frozenMs = LEASE_MS - 100
  answer.resolve()
  await settled()
  assert.deepEqual(bench.revoked, ['0'])
})

describe('a member that leaves', () => {
  test('without a connection is missed when there is one: its session goes on', async () => {
    const bench = new Bench()
    await bench.start()
    bench.isConnected = false
    await bench.ownership.close()
    assert.ok(!bench.said.includes('bye'))
    bench.isConnected = true
    bench.session.up()
    await settled()
    assert.ok(bench.said.includes('bye'))
  })

  test('while we have no connection does not keep its share', async () => {
    const bench = new Bench()
    await bench.start()
    bench.hear('a', 'join')
    await settled()
    bench.endRelease()
    await settled()
    assert.deepEqual(bench.ownership.owned, [])
    // Its notice did not reach us.
    bench.areOthersThere = false
    bench.ownership.up()
    await settled()
    assert.deepEqual(bench.ownership.owned, ['0'])
  })

  test('and stands by keeps its share while we have no connection', async () => {
    const bench = new Bench(2)
    await bench.start()
    bench.hear('a', 'join')
    await settled()
    bench.endRelease()
    await settled()
    assert.deepEqual(bench.ownership.owned, ['0'])
    // It owns nothing yet, and does not answer newcomers.
    bench.ownership.up()
    await bench.live(LEASE_MS / 3)
    assert.deepEqual(bench.ownership.owned, ['0'])
  })
})

describe('members that die', () => {
  test('do not come back with the records that they have left', async () => {
    const bench = new Bench(12)
    for (const unit of ['0', '1', '2', '3', '4', '5']) bench.leases.own('z', 'of z', false, unit)
    bench.leases.own('zz', 'of zz', false, '6')
    await bench.start()
    assert.equal(bench.ownership.owned.length, 5)
    bench.hear('z', 'gone', { gone: 'zz' })
    await bench.live(LEASE_MS, ['z'])
    await bench.clock.advance(50)
    // Its lease is not over yet, but it has no share any more: no member could read what it would get.
    bench.hear('z', 'free')
    await settled()
    assert.deepEqual(bench.released, [])
    await bench.live(LEASE_MS, ['z'])
    assert.equal(bench.acquired.at(-1), '6 taken')
    assert.deepEqual(bench.released, [])
  })

  test('leave what they had to those who have lived longer', async () => {
    const bench = new Bench(4)
    for (const unit of ['2', '3']) bench.leases.own('dead', 'of dead', false, unit)
    await bench.start()
    await bench.live(LEASE_MS + GRACE_MS + 2)
    assert.deepEqual(bench.ownership.owned, ['0', '1', '2', '3'])
    bench.hear('a', 'join', { ageMs: 10 })
    await bench.live(LEASE_MS - 20, ['a'])
    assert.deepEqual(bench.ownership.owned, ['0', '1', '2', '3'])
    await bench.live(LEASE_MS / 3, ['a'])
    bench.endRelease()
    await settled()
    assert.ok(bench.ownership.owned.length < 4)
  })

  test('make a newcomer wait for a lease, also for what is free', async () => {
    const bench = new Bench(4)
    const started = bench.start()
    bench.hear('a', 'members', { crashMs: 1_000, members: [] })
    await started
    assert.deepEqual(bench.ownership.owned, [])
    assert.ok(bench.ownership.isStandby)
    await bench.live(LEASE_MS - 50, ['a'])
    assert.deepEqual(bench.ownership.owned, [])
    await bench.live((2 * LEASE_MS) / 3, ['a'])
    assert.equal(bench.ownership.owned.length, 2)
  })

  test('are taken over from as soon as their lease is over', async () => {
    const bench = new Bench()
    bench.leases.own('dead', 'of dead')
    await bench.start()
    await bench.clock.advance(LEASE_MS + GRACE_MS)
    await settled()
    assert.deepEqual(bench.acquired, [])
    await bench.clock.advance(2)
    await settled()
    assert.deepEqual(bench.acquired, ['0 taken'])
  })

  test('are known to have died when this was an error', async () => {
    const bench = new Bench()
    await bench.start()
    bench.said.length = 0
    bench.hear('a', 'gone', { gone: 'me' })
    assert.deepEqual(bench.said, ['join'])
  })
})

test('a partition of a dead member, claimed without an answer again and again, is still one of a dead member', async () => {
  const bench = new Bench()
  const { leases } = bench
  leases.own('other', 'theirs')
  await bench.start()
  leases.isManual = true
  await bench.live(2 * LEASE_MS)
  const [first] = leases.writes as [Write]
  first.store()
  first.fail()
  await bench.live(LEASE_MS)
  const second = leases.writes[1] as Write
  assert.equal(leases.get('0')?.owner, 'me')
  second.fail()
  leases.isManual = false
  await bench.live(LEASE_MS)
  assert.deepEqual(bench.acquired, ['0 taken'])
})

test('a member that finds one partition taken by a faster one takes another one', async () => {
  const bench = new Bench(2)
  const { leases } = bench
  for (const unit of ['0', '1']) leases.own('a', 'of a', false, unit)
  await bench.start()
  for (const unit of ['0', '1']) leases.own('a', 'of a', true, unit)
  leases.isManual = true
  bench.hear('a', 'free')
  await settled()
  const [first] = leases.writes as [Write]
  leases.isManual = false
  first.refuse()
  await settled()
  assert.equal(bench.ownership.owned.length, 1)
})

test('a partition that is lost while it waits to be freed, and claimed again, is not freed', async () => {
  const bench = new Bench()
  const { leases, ownership } = bench
  await bench.start()
  leases.isManual = true
  const commit = ownership.commit('0')
  await settled()
  bench.hear('a', 'join')
  await settled()
  bench.endRelease()
  await settled()
  const [write] = leases.writes as [Write]
  bench.isConnected = false
  await bench.clock.advance(LEASE_MS)
  await settled()
  assert.deepEqual(bench.revoked, ['0'])
  bench.isConnected = true
  leases.isManual = false
  bench.hear('a', 'bye')
  ownership.up()
  await settled()
  assert.deepEqual(ownership.owned, ['0'])
  write.fail()
  await commit.catch(() => undefined)
  await settled()
  assert.deepEqual(ownership.owned, ['0'])
  assert.equal(leases.get('0')?.free, false)
})

test('a partition that a member has claimed again since its lease was over stays its own', async () => {
  const bench = new Bench(3)
  const renew = (id: string): void => bench.leases.set(`session.of ${id}`, RENEWED)
  renew('x')
  renew('f')
  for (const unit of ['0', '1']) bench.leases.own('x', 'of x', false, unit)
  bench.leases.own('f', 'of f', false, '2')
  void bench.ownership.start()
  for (const id of ['x', 'f']) bench.hear(id, 'members')
  await bench.clock.advance(25)
  await settled()
  // x is cut off for longer than its lease: one of its partitions is due to us, the other one to f.
  for (let step = 0; step < 60 && bench.acquired.length === 0; step++) {
    renew('f')
    await bench.clock.advance(100)
    await settled()
  }
  assert.deepEqual(bench.acquired, ['0 taken'])
  // x is back before f has looked, and reclaims the other one.
  await bench.clock.advance(50)
  renew('x')
  bench.leases.own('x', 'of x', false, '1')
  // Now that one is due to us.
  bench.leases.own('f', 'of f', true, '2')
  bench.hear('f', 'bye')
  await settled()
  assert.deepEqual(bench.acquired, ['0 taken', '2 clean'])
  assert.equal(bench.leases.get('1')?.owner, 'x')
})

describe('a member whose share is free', () => {
  /** Its share is two of eight. */
  async function claiming(): Promise<Bench> {
    const bench = new Bench(8)
    for (let unit = 0; unit < 8; unit++) bench.leases.own('former', '', true, String(unit))
    void bench.ownership.start()
    for (const id of ['a', 'b', 'c']) bench.hear(id, 'members')
    bench.leases.isManual = true
    await bench.clock.advance(25)
    await settled()
    return bench
  }

  test('claims no more when its claims are not answered', async () => {
    const bench = await claiming()
    for (let round = 0; round < 10; round++) {
      for (const write of bench.leases.writes) {
        write.store()
        write.fail()
      }
      await settled()
    }
    const owners = Array.from({ length: 8 }, (_, unit) => bench.leases.get(String(unit))?.owner)
    assert.equal(owners.filter((owner) => owner === 'me').length, 2)
  })

  test('claims no more when it closes', async () => {
    const bench = await claiming()
    const claims = [...bench.leases.writes]
    const closed = bench.ownership.close()
    bench.leases.isManual = false
    for (const claim of claims) {
      claim.store()
      claim.answer()
    }
    await closed
    await settled()
    for (let unit = 0; unit < 8; unit++) {
      const { owner, free, version } = bench.leases.get(String(unit)) as PartitionRecord
      assert.deepEqual([owner, free, version > 1], ['former', true, unit < 2])
    }
  })
})

describe('after a reconnect', () => {
  test('an owner that could not be reached counts again when its lease is renewed', async () => {
    const bench = new Bench(2)
    bench.leases.set('session.of x', RENEWED)
    bench.leases.own('x', 'of x')
    await bench.start()
    assert.deepEqual(bench.ownership.owned, ['1'])
    // The servers see each other later than we see ours.
    bench.areOthersThere = false
    bench.ownership.up()
    await settled()
    bench.areOthersThere = true
    await bench.live(2 * LEASE_MS, ['x'])
    bench.leases.own('x', 'of x', true)
    await bench.live(LEASE_MS, ['x'])
    assert.deepEqual(bench.ownership.owned, ['1'], 'each has its share')
  })

  test('an owner that has died does not count again while its lease lasts', async () => {
    const bench = new Bench(3)
    bench.leases.set('session.of x', RENEWED)
    for (const unit of ['0', '1']) bench.leases.own('x', 'of x', false, unit)
    bench.leases.own('y', 'of y', false, '2')
    bench.leases.set('session.of y', RENEWED)
    await bench.start()
    // Its last renewal has not been seen yet.
    bench.leases.set('session.of x', RENEWED)
    bench.areOthersThere = false
    bench.ownership.up()
    await settled()
    bench.areOthersThere = true
    bench.hear('y', 'members')
    await bench.live((2 * LEASE_MS) / 3, ['y'])
    bench.leases.own('x', 'of x', true, '0')
    bench.leases.own('x', 'of x', true, '1')
    await bench.live(LEASE_MS / 3, ['y'])
    assert.deepEqual(bench.ownership.owned, ['0', '1'], 'of two members we are the first')
  })

  test('all members are asked, also when the first ones do not answer', async () => {
    const bench = new Bench(1)
    await bench.start()
    for (let at = 10; at < 22; at++) bench.hear(`m${at}`, 'members')
    bench.asked.length = 0
    bench.answers = Promise.reject(new ConnectionError('timeout'))
    bench.answers.catch(() => undefined)
    bench.ownership.up()
    await settled()
    const others = Array.from({ length: 12 }, (_, at) => `m${at + 10}`)
    await bench.live(LEASE_MS / 3, others)
    assert.equal(new Set(bench.asked).size, 12)
  })
})

test('a member that has less than its share says once per lease that it is there', async () => {
  const bench = new Bench(2)
  bench.leases.set('session.of x', RENEWED)
  for (const unit of ['0', '1']) bench.leases.own('x', 'of x', false, unit)
  await bench.start()
  bench.said.length = 0
  await bench.live(3 * LEASE_MS, ['x'])
  assert.deepEqual(bench.said, ['join', 'join', 'join'])
})

test('a member that is back is not reported dead again', async () => {
  const bench = new Bench(5)
  const others = ['a', 'n', 'o', 'p']
  for (const [unit, id] of others.entries()) {
    bench.leases.set(`session.of ${id}`, RENEWED)
    bench.leases.own(id, `of ${id}`, false, String(unit))
  }
  void bench.ownership.start()
  for (const id of others) bench.hear(id, 'members')
  await bench.clock.advance(25)
  await settled()
  const reports = (): number => bench.said.filter((kind) => kind === 'gone').length
  for (let round = 0; round < 30 && reports() === 0; round++) await bench.live(LEASE_MS / 3, ['n', 'o', 'p'])
  assert.equal(reports(), 1)
  bench.leases.set('session.of a', RENEWED)
  bench.hear('a', 'join')
  await bench.live(4 * LEASE_MS, others)
  assert.equal(reports(), 1)
})

test('a look at a later lease does not put off the one at an earlier lease', async () => {
  const bench = new Bench(3)
  for (const id of ['a', 'b']) bench.leases.set(`session.of ${id}`, RENEWED)
  for (const unit of ['0', '1', '2']) bench.leases.own('b', 'of b', false, unit)
  const started = bench.start()
  for (const id of ['a', 'b']) bench.hear(id, 'members')
  await started
  await bench.live(LEASE_MS, ['b'])
  // Those who have what is not free: a has nothing.
  bench.hear('b', 'free')
  await settled()
  assert.ok(!bench.said.includes('gone'))
  await bench.clock.advance(GRACE_MS + 2)
  await settled()
  assert.ok(bench.said.includes('gone'))
})

test('a member that died counts again when another one knows it, but not soon', async () => {
  const bench = new Bench(4)
  await bench.start()
  bench.hear('b', 'gone', { gone: 'a' })
  await bench.live(LEASE_MS, ['b'])
  assert.deepEqual(bench.released, ['2', '3'])
  const heardOf = async (): Promise<void> => {
    bench.hear('b', 'members', { members: [['a', 'of a', 60_000, 0, true]] })
    await settled()
  }
  await heardOf()
  assert.deepEqual(bench.released, ['2', '3'])
  await bench.live(6 * LEASE_MS, ['b'])
  await heardOf()
  assert.deepEqual(bench.released, ['2', '3', '1'])
})
