import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { Incoming } from '../../../src/transports/nats/incoming.ts'
import { Ownership } from '../../../src/transports/nats/ownership.ts'
import type { OwnershipHost } from '../../../src/transports/nats/ownership.ts'
import type { StateRecord } from '../../../src/transports/nats/state-records.ts'

const LEASE_MS = 3_000

interface Lease {
  readonly owner: string
  readonly leaseMs: number
  readonly free: boolean
}

/** A write on its way: reaches the server, and is answered, when the test says so. */
interface Write {
  store(): void
  answer(): void
}

/** The stream of leases. */
class Leases {
  readonly records = new Map<string, StateRecord>()
  /** Writes wait for the test. */
  isManual = false
  readonly writes: Write[] = []
  #seq = 0

  /** As somebody else writes it, or a server that forgets. */
  set(subject: string, lease: Lease): void {
    this.records.set(subject, { seq: ++this.#seq, time: 0, text: JSON.stringify(lease) })
  }

  forgetAll(): void {
    this.records.clear()
    this.#seq = 0
  }

  get(subject: string): Lease | undefined {
    const record = this.records.get(subject)
    return record === undefined ? undefined : (JSON.parse(record.text) as Lease)
  }

  write(subject: string, text: string, expected: number): Promise<number | undefined> {
    const { promise, resolve } = Promise.withResolvers<number | undefined>()
    let seq: number | undefined
    const write: Write = {
      store: () => {
        if ((this.records.get(subject)?.seq ?? 0) !== expected) return
        seq = ++this.#seq
        this.records.set(subject, { seq, time: 0, text })
      },
      answer: () => resolve(seq),
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
  readonly leases = new Leases()
  isConnected = true
  readonly ownership: Ownership
  readonly acquired: string[] = []
  readonly revoked: string[] = []
  /** Ends the handlers of the partition that is being released. */
  endRelease: () => void = () => undefined
  #heard: ((message: Incoming) => void) | undefined

  constructor() {
    // oxlint-disable-next-line typescript/no-this-alias -- for the getter
    const bench = this
    const session = {
      get ready() {
        return bench.isConnected
      },
      host: { clock: this.clock },
      connection: { isClosed: () => false },
      subscribe: (_subject: string, receive: (message: Incoming) => void) => {
        this.#heard ??= receive
        return { unsubscribe: () => undefined }
      },
      outbox: { publish: () => undefined },
      request: () => Promise.resolve(),
      trouble: () => undefined,
      error: (error: unknown) => assert.fail(String(error)),
    }
    const host = {
      session,
      records: {
        leaseSubject: (_group: string, unit: string) => unit,
        readLease: (subject: string) => Promise.resolve(this.leases.records.get(subject)),
        write: (subject: string, text: string, expected: number) => this.leases.write(subject, text, expected),
      },
      memberId: 'me',
      leaseMs: LEASE_MS,
      leasesLostMs: Infinity,
      acquire: (unit: string) => void this.acquired.push(unit),
      release: () => new Promise<void>((resolve) => (this.endRelease = resolve)),
      formerMs: () => 0,
      revoke: (unit: string) => void this.revoked.push(unit),
      changed: () => undefined,
      moved: () => undefined,
    } as unknown as OwnershipHost
    this.ownership = new Ownership(host, ['0'], 'g', 'members')
  }

  async start(): Promise<void> {
    const started = this.ownership.start()
    await this.clock.advance(25)
    await started
  }

  hear(id: string, kind: string): void {
    this.#heard?.({ text: JSON.stringify({ id, kind, ageMs: 60_000 }), reply: '' } as Incoming)
  }
}

/** All promises that are about to settle have. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

describe('a partition that is handed over while its lease is being renewed', () => {
  async function releasing(): Promise<Bench> {
    const bench = new Bench()
    await bench.start()
    assert.deepEqual(bench.ownership.owned, ['0'])
    // Comes first by its name, so the only partition is due to it.
    bench.hear('a', 'join')
    await settled()
    bench.leases.isManual = true
    await bench.clock.advance(LEASE_MS / 3)
    assert.equal(bench.leases.writes.length, 1, 'its handlers still run, so it is renewed')
    bench.endRelease()
    await settled()
    assert.equal(bench.leases.writes.length, 2, 'the handlers are done, so it is freed')
    return bench
  }

  test('is free when the renewal got through first and is answered late', async () => {
    const { leases, ownership } = await releasing()
    const [renewal, freeing] = leases.writes as [Write, Write]
    leases.isManual = false
    renewal.store()
    freeing.store()
    freeing.answer()
    await settled()
    renewal.answer()
    await settled()
    assert.equal(leases.get('0')?.free, true)
    assert.deepEqual(ownership.owned, [])
  })

  test('stays free when the renewal comes late and is refused', async () => {
    const { leases, ownership } = await releasing()
    const [renewal, freeing] = leases.writes as [Write, Write]
    leases.isManual = false
    freeing.store()
    renewal.store()
    renewal.answer()
    await settled()
    freeing.answer()
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
    assert.deepEqual(bench.revoked, ['0'])
    bench.isConnected = true
    bench.hear('a', 'bye')
    bench.ownership.up()
    await settled()
    assert.deepEqual(bench.acquired, ['0', '0'])
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

describe('a server that has lost the records of leases', () => {
  const theirs = { owner: 'other', leaseMs: LEASE_MS, free: false }

  test('a partition of another member is left alone for as long as that may go by its lease', async () => {
    const bench = new Bench()
    bench.leases.set('0', theirs)
    await bench.start()
    assert.deepEqual(bench.ownership.owned, [])
    bench.leases.forgetAll()
    await bench.clock.advance(LEASE_MS / 3)
    await bench.clock.advance(LEASE_MS)
    assert.deepEqual(bench.ownership.owned, [])
    await bench.clock.advance(LEASE_MS / 2)
    assert.deepEqual(bench.ownership.owned, ['0'])
  })

  test('the owner keeps what is its own', async () => {
    const bench = new Bench()
    await bench.start()
    bench.leases.forgetAll()
    await bench.clock.advance(LEASE_MS / 3)
    assert.deepEqual(bench.ownership.owned, ['0'])
    assert.equal(bench.leases.get('0')?.owner, 'me')
    assert.deepEqual(bench.revoked, [])
  })
})
