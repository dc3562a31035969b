import { describe, expect, it } from 'vitest'
import { Reader } from '../../../src/kafka/bytes/reader.ts'
import { uvarintSize, varintSize } from '../../../src/kafka/bytes/varint.ts'
import { Writer } from '../../../src/kafka/bytes/writer.ts'
import { MalformedError, UnencodableError } from '../../../src/kafka/errors.ts'
import { seededRandom } from '../../../src/testing/random.ts'

function written(write: (writer: Writer) => void, initialSize = 4): Buffer {
  const writer = new Writer(initialSize)
  write(writer)
  const { size } = writer
  const buffer = writer.toBuffer()
  expect(buffer.length).toBe(size)
  return buffer
}

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')

describe('varints', () => {
  it.each([
    [0, '00'],
    [1, '01'],
    [127, '7f'],
    [128, '80 01'],
    [300, 'ac 02'],
    [16_383, 'ff 7f'],
    [16_384, '80 80 01'],
    [2 ** 28, '80 80 80 80 01'],
    [2 ** 32 - 1, 'ff ff ff ff 0f'],
  ])('writes and reads unsigned %d', (value, bytes) => {
    expect(written((w) => w.uvarint(value))).toEqual(hex(bytes))
    expect(new Reader(hex(bytes)).uvarint()).toBe(value)
    expect(uvarintSize(value)).toBe(hex(bytes).length)
  })

  it.each([
    [0, '00'],
    [-1, '01'],
    [1, '02'],
    [-64, '7f'],
    [64, '80 01'],
    [2_147_483_647, 'fe ff ff ff 0f'],
    [-2_147_483_648, 'ff ff ff ff 0f'],
  ])('writes and reads zigzag %d', (value, bytes) => {
    expect(written((w) => w.varint(value))).toEqual(hex(bytes))
    expect(new Reader(hex(bytes)).varint()).toBe(value)
    expect(new Reader(hex(bytes)).varlong()).toBe(value)
    expect(varintSize(value)).toBe(hex(bytes).length)
  })

  it.each([
    [2 ** 31, '80 80 80 80 10'],
    [-(2 ** 31) - 1, '81 80 80 80 10'],
    [Number.MAX_SAFE_INTEGER, 'fe ff ff ff ff ff ff 1f'],
    [Number.MIN_SAFE_INTEGER, 'fd ff ff ff ff ff ff 1f'],
    [2 ** 63, 'fe ff ff ff ff ff ff ff ff 01'],
    [-(2 ** 63), 'ff ff ff ff ff ff ff ff ff 01'],
  ])('reads a zigzag of 64 bits, %d', (value, bytes) => {
    expect(new Reader(hex(bytes)).varlong()).toBe(value)
  })

  it.each(['ff ff ff ff 10', 'ff ff ff ff ff', '80 80 80 80 80 80 80 80 80 02'])('refuses %s', (bytes) => {
    expect(() => new Reader(hex(bytes)).uvarint()).toThrow(expect.objectContaining({ code: 'INVALID_VARINT' }))
  })

  it('refuses a varlong that does not end within 64 bits', () => {
    const endless = hex('ff ff ff ff ff ff ff ff ff 02')
    expect(() => new Reader(endless).varlong()).toThrow(expect.objectContaining({ code: 'INVALID_VARINT' }))
  })
})

describe('numbers', () => {
  it.each([0, 1, -1, 2 ** 31, 2 ** 32, -(2 ** 32), -(2 ** 32) - 1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER])(
    'keeps int64 %d exactly',
    (value) => {
      const bytes = written((w) => w.i64(value))
      expect(bytes.readBigInt64BE()).toBe(BigInt(value))
      expect(new Reader(bytes).i64()).toBe(value)
      expect(new Reader(bytes).big()).toBe(BigInt(value))
    },
  )

  it('refuses an int64 beyond 2^53 where every digit counts, rounds it where it is a time', () => {
    const bytes = written((w) => w.big(2n ** 62n + 1n))
    expect(() => new Reader(bytes).i64()).toThrow(expect.objectContaining({ code: 'INVALID_VALUE' }))
    expect(new Reader(bytes).time()).toBe(2 ** 62)
    expect(() => new Writer().i64(2 ** 60)).toThrow(UnencodableError)
    expect(() => new Writer().i64(1.5)).toThrow(UnencodableError)
  })

  it('writes and reads the fixed widths', () => {
    const bytes = written((w) => {
      w.bool(true)
      w.i8(-2)
      w.i16(-3)
      w.u16(65_535)
      w.i32(-4)
      w.u32(4_294_967_295)
      w.f64(0.1)
    })
    const r = new Reader(bytes)
    expect([r.bool(), r.i8(), r.i16(), r.u16(), r.i32(), r.u32(), r.f64()]).toEqual([
      true,
      -2,
      -3,
      65_535,
      -4,
      4_294_967_295,
      0.1,
    ])
    r.expectEnd('the test')
  })
})

describe('strings, bytes and uuids', () => {
  it.each([true, false])('keeps them, compact %s', (compact) => {
    const text = 'größe 🚌'
    const bytes = written((w) => {
      w.str(text, compact)
      w.strOrNull(null, compact)
      w.bytes(Buffer.from([1, 2]), compact)
      w.bytesOrNull(null, compact)
      w.str('', compact)
      w.uuid('AAAAAAAAAAAAAAAAAAAAAQ')
    })
    const r = new Reader(bytes)
    expect(r.str(compact)).toBe(text)
    expect(r.strOrNull(compact)).toBeNull()
    expect(r.bytes(compact)).toEqual(Buffer.from([1, 2]))
    expect(r.bytesOrNull(compact)).toBeNull()
    expect(r.str(compact)).toBe('')
    expect(r.uuid()).toBe('AAAAAAAAAAAAAAAAAAAAAQ')
    r.expectEnd('the test')
  })

  it('refuses what has no place in the bytes', () => {
    expect(() => new Writer().str('x'.repeat(32_768), false)).toThrow(UnencodableError)
    expect(() => new Writer().uuid('short')).toThrow(UnencodableError)
    expect(() => new Reader(hex('ffff')).str(false)).toThrow(expect.objectContaining({ code: 'UNEXPECTED_NULL' }))
  })

  it('gives large bytes by reference, in order, and counts them', () => {
    const batch = Buffer.alloc(1_000, 7)
    const writer = new Writer(8)
    writer.i32(1)
    writer.records([batch, batch], false)
    writer.str('after', true)
    const chunks = writer.chunks()
    expect(chunks.filter((chunk) => chunk === batch)).toHaveLength(2)
    expect(Buffer.concat(chunks)).toEqual(
      Buffer.concat([hex('00000001 000007d0'), batch, batch, hex('06'), Buffer.from('after')]),
    )
  })

  it('writes the size of a tagged field before it, and passes over unknown ones', () => {
    const bytes = written((w) => {
      w.uvarint(2)
      w.tag(0, (aside) => aside.str('x'.repeat(200), true))
      w.tag(9, (aside) => aside.i32(1))
      w.i8(5)
    })
    const r = new Reader(bytes)
    r.skipTags()
    expect(r.i8()).toBe(5)
    r.expectEnd('the test')
  })
})

describe('hostile bytes', () => {
  it.each([
    ['a string longer than the message', (r: Reader) => r.str(false), '7fff 61', 'TRUNCATED'],
    ['a string of length -2', (r: Reader) => r.str(false), 'fffe', 'INVALID_LENGTH'],
    ['bytes of 2 GiB', (r: Reader) => r.bytes(false), '7fffffff', 'TRUNCATED'],
    ['compact bytes of 4 GiB', (r: Reader) => r.bytes(true), 'ffffffff0f', 'TRUNCATED'],
    ['an array of 2^31 - 1', (r: Reader) => r.count(false, 1), '7fffffff 00', 'TRUNCATED'],
    ['an array of -2', (r: Reader) => r.count(false, 1), 'fffffffe', 'INVALID_LENGTH'],
    ['2^32 - 1 tagged fields', (r: Reader) => r.skipTags(), 'ffffffff0f 00 00', 'TRUNCATED'],
    ['a tagged field of 4 GiB', (r: Reader) => r.skipTags(), '01 00 ffffffff0f', 'TRUNCATED'],
    ['bytes after the end', (r: Reader) => r.expectEnd('it'), '00', 'INVALID_LENGTH'],
    ['half a number', (r: Reader) => r.i64(), '00 00 00', 'TRUNCATED'],
  ])('refuses %s', (_, read, bytes, code) => {
    expect(() => read(new Reader(hex(bytes)))).toThrow(expect.objectContaining({ name: 'MalformedError', code }))
  })

  it('bounds the elements of all arrays of a message together', () => {
    const big = Buffer.alloc(3_000_000)
    const r = new Reader(Buffer.concat([hex('002dc6c0'), big]))
    expect(r.count(false, 1)).toBe(3_000_000)
    r.pos = 0
    expect(() => r.count(false, 1)).toThrow(expect.objectContaining({ code: 'TOO_LARGE' }))
  })

  it('ends every read of random bytes with a value or a typed error', () => {
    const random = seededRandom(1)
    const reads: readonly ((r: Reader) => unknown)[] = [
      (r) => r.uvarint(),
      (r) => r.varlong(),
      (r) => r.str(true),
      (r) => r.strOrNull(false),
      (r) => r.bytesOrNull(true),
      (r) => r.count(true, 3),
      (r) => r.skipTags(),
      (r) => r.uuid(),
      (r) => r.i64(),
    ]
    let values = 0
    let errors = 0
    for (let round = 0; round < 5_000; round++) {
      const r = new Reader(Buffer.from(random.bytes(random.integer(0, 23))))
      try {
        while (r.remaining > 0) {
          random.pick(reads)(r)
          values++
          expect(r.pos).toBeLessThanOrEqual(r.end)
        }
      } catch (error) {
        if (!(error instanceof MalformedError)) throw error
        errors++
      }
    }
    expect(values).toBeGreaterThan(500)
    expect(errors).toBeGreaterThan(500)
  })
})
