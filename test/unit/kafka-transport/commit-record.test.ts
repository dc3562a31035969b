import { crc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import {
  decodeRecord,
  encodeRecord,
  hashOfTopic,
  MAX_RECORD_CHARACTERS,
  RESERVED_PER_DELIVERY,
} from '../../../src/transports/kafka/partitions/commit-record.ts'
import type { CommitRecord, OffsetNote, OpenRun } from '../../../src/transports/kafka/partitions/commit-record.ts'
import { fitRecord } from '../../../src/transports/kafka/partitions/fit-record.ts'

const OWNER = 'AbCdEf_-'
const NOTHING: CommitRecord = {
  floor: 42,
  topic: hashOfTopic('tt9tdC0xQ3GyzvGSBJcl8w'),
  owner: OWNER,
  free: false,
  to: 42,
  claim: 106,
  moved: 0,
  partitions: 6,
  open: [],
  notes: [],
}

const random = seededRandom(1)
const below = (limit: number): number => Math.floor(random.next() * limit)

function randomRecord(runs: number, notes: number): CommitRecord {
  const floor = random.next() < 0.5 ? below(1_000) : below(2 ** 48)
  const open: OpenRun[] = []
  let at = floor
  for (let left = runs; left > 0; left--) {
    const first = open.length === 0 ? floor : at + 1 + below(random.next() < 0.1 ? 100_000 : 10)
    const last = first + below(random.next() < 0.1 ? 1_000 : 3)
    open.push([first, last])
    at = last + 1
  }
  const to = at + below(1_000)
  const noted: OffsetNote[] = []
  const base = 1_700_000_000_000 + below(1_000_000)
  for (const [first] of open.slice(0, notes))
    noted.push({
      offset: first,
      history: (['new', 'returned', 'unknown', 'died'] as const)[below(4)] ?? 'new',
      used: below(12),
      running: random.next() < 0.5,
      // Multiples of the step come back as they were.
      notBefore: random.next() < 0.5 ? undefined : base + 16 * below(5_400_000),
      inOrder: random.next() < 0.5,
    })
  return {
    ...NOTHING,
    floor,
    free: random.next() < 0.5,
    to,
    claim: to + below(100),
    moved: below(2 ** 42),
    open,
    notes: noted,
  }
}

describe('a commit record', () => {
  it('comes back as it was written, but that times are rounded up to 16 ms from the first', () => {
    for (let round = 0; round < 500; round++) {
      // Many runs are packed.
      const record = randomRecord(below(round % 2 === 0 ? 40 : 400), below(40))
      const read = decodeRecord(encodeRecord(record), record.floor)
      const times = record.notes.map(({ notBefore }) => notBefore ?? 0)
      expect(read).toEqual({ ...record, notes: expect.anything() as never })
      const untimed = (notes: readonly OffsetNote[] = []): readonly OffsetNote[] =>
        notes.map((note) => ({ ...note, notBefore: undefined }))
      expect(untimed(read?.notes)).toEqual(untimed(record.notes))
      for (const [index, note] of (read?.notes ?? []).entries()) {
        const given = times[index] ?? 0
        expect(note.notBefore === undefined).toBe(given === 0)
        if (note.notBefore !== undefined)
          expect(note.notBefore - given).toSatisfy((late: number) => late >= 0 && late < 16)
      }
    }
  })

  it('is written as it always was: two versions of a service share a group', () => {
    const note: OffsetNote = {
      offset: 44,
      history: 'died',
      used: 2,
      running: true,
      notBefore: 1_700_000_000_000,
      inOrder: true,
    }
    const record = {
      ...NOTHING,
      moved: 7,
      open: [
        [42, 42],
        [44, 46],
      ] as const,
      to: 50,
      notes: [note],
    }
    expect(encodeRecord(record)).toMatchInlineSnapshot(`"bb1.D_W02gAqqvG--QEBsJ0R__5ABwYCAAABAgMBgNCV_7wxAl8A"`)
    expect(encodeRecord({ ...NOTHING, free: true })).toMatchInlineSnapshot(`"bb1.l5uvzwEqqvG--QEBsJ0R__5AAAYAAAA"`)
  })

  it.each([
    ['nothing', ''],
    ['Kafka Streams', 'AQAAAYFYe6Wg'],
    ['another library', 'bitset,42,1000100'],
    ['a text of the greatest length', 'x'.repeat(4_096)],
    ['a later version', encodeRecord(NOTHING).replace('bb1.', 'bb2.')],
    ['half a record', encodeRecord(NOTHING).slice(0, -6)],
    ['a record with more behind it', `${encodeRecord(NOTHING)}AAAA`],
  ])('leaves the offset alone where there is %s', (_name, metadata) => {
    expect(decodeRecord(metadata, 42)).toBeUndefined()
  })

  it('does not count for another offset: somebody has moved the group', () => {
    expect(decodeRecord(encodeRecord(NOTHING), 43)).toBeUndefined()
  })

  it('does not count when any bit of it is damaged', () => {
    const text = encodeRecord(randomRecord(5, 5))
    const bytes = Buffer.from(text.slice(4), 'base64url')
    const { floor } = decodeRecord(text, -1) ?? { floor: -1 }
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const damaged = Buffer.from(bytes)
      damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7))
      expect(decodeRecord(`bb1.${damaged.toString('base64url')}`, floor)).toBeUndefined()
    }
  })

  it('survives any bytes behind a good checksum', () => {
    for (let round = 0; round < 2_000; round++) {
      const bytes = Buffer.from(
        Array.from({ length: 4 + below(60) }, () => (random.next() < 0.5 ? below(8) : below(256))),
      )
      bytes.writeUInt32LE(crc32(bytes.subarray(4)), 0)
      const read = decodeRecord(`bb1.${bytes.toString('base64url')}`, bytes[5] ?? 0)
      if (read === undefined) continue
      expect([read.to, read.claim, ...read.open.flat()].every((each) => Number.isSafeInteger(each))).toBe(true)
    }
  })

  it('costs nothing for what is finished without a gap, and four bytes for a stuck one in front of it', () => {
    const done = encodeRecord({ ...NOTHING, to: 50_042, claim: 50_106, open: [[42, 42]] })
    expect(done.length - encodeRecord(NOTHING).length).toBeLessThanOrEqual(8)
  })

  it('fits with what is reserved for each delivery, whatever becomes of them', () => {
    for (let round = 0; round < 200; round++) {
      const count = 1 + below(250)
      const record = randomRecord(count, count)
      const bytes = ((encodeRecord(record).length - 4) * 3) / 4
      expect(bytes).toBeLessThanOrEqual(64 + RESERVED_PER_DELIVERY * count)
    }
  })

  it('has room for 10,000 messages that wait and end at random', () => {
    const open: OpenRun[] = []
    for (let offset = 42; offset < 10_042; offset++) {
      if (open.length > 0 && random.next() < 0.5) continue
      const last = open.at(-1)
      if (last !== undefined && last[1] === offset - 1) open[open.length - 1] = [last[0], offset]
      else open.push([offset, offset])
    }
    const record = { ...NOTHING, to: 10_042, claim: 10_106, open }
    const text = encodeRecord(record)
    expect(text.length).toBeLessThan(MAX_RECORD_CHARACTERS)
    expect(decodeRecord(text, 42)).toEqual(record)
  })

  it('survives packed runs that are cut, or none', () => {
    const text = encodeRecord(randomRecord(200, 0))
    const bytes = Buffer.from(text.slice(4), 'base64url')
    const { floor } = decodeRecord(text, -1) ?? { floor: bytes[5] ?? 0 }
    for (let round = 0; round < 2_000; round++) {
      const damaged = Buffer.from(bytes.subarray(0, 20 + below(bytes.length - 20)))
      damaged[30 + below(damaged.length)] = below(256)
      damaged.writeUInt32LE(crc32(damaged.subarray(4)), 0)
      const read = decodeRecord(`bb1.${damaged.toString('base64url')}`, floor)
      if (read === undefined) continue
      expect([read.to, read.claim, ...read.open.flat()].every((each) => Number.isSafeInteger(each))).toBe(true)
      for (const [first, last] of read.open) expect(last).toBeGreaterThanOrEqual(first)
    }
  })

  it('forgets what is furthest ahead when it does not fit, and never the floor', () => {
    for (const limit of [MAX_RECORD_CHARACTERS, 1_024, 128]) {
      const record = randomRecord(2_000, 2_000)
      const { text, isCut } = fitRecord(record, limit)
      expect(isCut).toBe(true)
      const read = decodeRecord(text, record.floor) as CommitRecord
      expect(text.length).toBeLessThanOrEqual(limit)
      expect(read.to).toBeLessThanOrEqual(record.to)
      // Whatever may have been handed out is still below the claim.
      expect(read.claim).toBeGreaterThanOrEqual(record.to)
      expect(read.open).toEqual(record.open.slice(0, read.open.length))
    }
  })
})
