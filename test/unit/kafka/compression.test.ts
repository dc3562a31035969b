import { describe, expect, it } from 'vitest'
import { MalformedError } from '../../../src/kafka/errors.ts'
import { CODECS } from '../../../src/kafka/records/batch-format.ts'
import { compress, decompress } from '../../../src/kafka/records/compression/index.ts'
import { decompressLz4 } from '../../../src/kafka/records/compression/lz4.ts'
import { compressRawSnappy, decompressSnappy } from '../../../src/kafka/records/compression/snappy.ts'
import { xxhash32 } from '../../../src/kafka/records/compression/xxhash32.ts'
import { crc32c, crc32cInJs } from '../../../src/kafka/records/crc32c.ts'
import { seededRandom } from '../../../src/testing/random.ts'
import type { Random } from '../../../src/testing/random.ts'

const LIMIT = 10_000_000
const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')

/** Data with repetitions near and far, long runs, and noise. */
function sample(random: Random, size: number): Buffer {
  const parts: Buffer[] = []
  for (let left = size; left > 0;) {
    const part = random.pick([
      () => Buffer.from(random.bytes(random.integer(1, 300))),
      () => Buffer.alloc(random.integer(1, 2_000), random.integer(0, 255)),
      () => Buffer.from('{"id":1,"name":"orders"}'.repeat(random.integer(1, 50))),
      () => parts[random.integer(0, Math.max(0, parts.length - 1))] ?? Buffer.from('first'),
    ])()
    parts.push(part.subarray(0, left))
    left -= part.length
  }
  return Buffer.concat(parts)
}

describe.each(CODECS.filter((codec) => codec !== 'none'))('%s', (codec) => {
  it('gives back what it was given', async () => {
    const random = seededRandom(codec)
    for (const size of [
      0, 1, 3, 4, 5, 11, 12, 13, 15, 100, 255, 256, 4_000, 65_535, 65_536, 65_537, 200_000, 700_000,
    ]) {
      const data = sample(random, size)
      const packed = await compress(codec, data)
      expect((await decompress(codec, packed, { limit: LIMIT })).equals(data), `${size} bytes`).toBe(true)
    }
  })

  it('makes repetitive data smaller, and noise hardly larger', async () => {
    const text = Buffer.from('{"id":1,"name":"orders"}'.repeat(5_000))
    expect((await compress(codec, text)).length).toBeLessThan(text.length / 8)
    const noise = Buffer.from(seededRandom('noise').bytes(100_000))
    expect((await compress(codec, noise)).length).toBeLessThan(100_200)
  })

  it('stops at the limit', async () => {
    for (const size of [1_000_001, 40_000_000]) {
      const packed = await compress(codec, Buffer.alloc(size))
      await expect((async () => decompress(codec, packed, { limit: 1_000_000 }))()).rejects.toMatchObject({
        name: 'MalformedError',
        code: 'TOO_LARGE',
      })
    }
  })

  it('ends in a typed error or a value, whatever it is given', async () => {
    const random = seededRandom(`hostile ${codec}`)
    const packed = await compress(codec, sample(random, 2_000))
    let errors = 0
    for (let round = 0; round < 1_500; round++) {
      const changed = Buffer.from(packed.subarray(0, random.integer(0, packed.length)))
      for (let flips = random.integer(0, 4); flips > 0 && changed.length > 0; flips--) {
        changed[random.integer(0, changed.length - 1)] = random.pick([0, 0x7f, 0xff, random.integer(0, 255)])
      }
      try {
        expect((await decompress(codec, changed, { limit: 100_000 })).length).toBeLessThanOrEqual(100_000)
      } catch (error) {
        if (!(error instanceof MalformedError)) throw error
        errors++
      }
    }
    expect(errors).toBeGreaterThan(500)
  })
})

describe('snappy', () => {
  it('is read without framing too', () => {
    // "Wikipedia is a free, web-based, collaborative, multilingual encyclopedia project." by Google's library.
    const packed = hex(
      '51f05057696b6970656469612069732061206672 65652c207765622d62617365642c20636f6c6c61626f7261746976652c206d756c7469' +
        '6c696e6775616c20656e6379636c6f7065646961207072 6f6a6563742e',
    )
    expect(decompressSnappy(packed, LIMIT).toString()).toBe(
      'Wikipedia is a free, web-based, collaborative, multilingual encyclopedia project.',
    )
    const data = sample(seededRandom('raw'), 300_000)
    expect(decompressSnappy(compressRawSnappy(data), LIMIT).equals(data)).toBe(true)
  })

  it.each([
    ['a copy of one byte of offset', '0a 08616263 0d03 ', 'abcabcabca'],
    ['a copy of four bytes of offset', '0a 08616263 1b 03000000', 'abcabcabca'],
    ['a literal with a size of four bytes', '03 fc 02000000 616263', 'abc'],
  ])('has %s', (_, packed, text) => {
    expect(decompressSnappy(hex(packed), LIMIT).toString()).toBe(text)
  })

  it.each([
    ['a copy from before the start', '04 0861 01 09'],
    ['an offset of zero', '08 0061 0d00'],
    ['less than promised', '09 0061'],
    ['more than promised', '01 046162'],
    ['a promise that has no room', 'ffffffff07 0061'],
    ['no size', 'ffffffffff'],
    ['a chunk past the end', '82534e4150505900 00000001 00000001 000000ff 00'],
  ])('refuses %s', (_, packed) => {
    expect(() => decompressSnappy(hex(packed), LIMIT)).toThrow(MalformedError)
  })
})

describe('lz4', () => {
  it.each([
    ['', 0x02cc5d05],
    ['a', 0x550d7456],
    ['abc', 0x32d153ff],
    ['Nobody inspects the spammish repetition', 0xe2293b2f],
  ])('has the checksum of %j', (text, hash) => {
    expect(xxhash32(Buffer.from(text))).toBe(hash)
  })

  // Frames of the reference tool (lz4 1.9): linked blocks, content size, block and content checksums.
  it('checks what a frame promises', () => {
    const frame = hex('04224d18 6c40 0500000000000000 00 05000080 68656c6c6f 00000000 00000000'.replaceAll(' ', ''))
    // Header checksum and content checksum as they must be.
    frame[14] = (xxhash32(frame, 4, 14) >>> 8) & 255
    frame.writeUInt32LE(xxhash32(Buffer.from('hello')), frame.length - 4)
    expect(decompressLz4(frame, LIMIT).toString()).toBe('hello')
    for (const at of [6, 14, frame.length - 1]) {
      const wrong = Buffer.from(frame)
      wrong[at] = (wrong[at] as number) ^ 1
      expect(() => decompressLz4(wrong, LIMIT)).toThrow(MalformedError)
    }
  })

  it('reads linked blocks, and several frames', async () => {
    const linked = hex('04224d18 4040 00 05000080 68656c6c6f 06000000 10 20 0500 00 00 00000000'.replaceAll(' ', ''))
    linked[6] = (xxhash32(linked, 4, 6) >>> 8) & 255
    // Second block: one literal, then "hello" again from before the block, then a last literal.
    const second = Buffer.from([0x11, 0x20, 0x06, 0x00, 0x10, 0x21])
    second.copy(linked, 20)
    expect(decompressLz4(linked, LIMIT).toString()).toBe('hello hello!')
    const twice = Buffer.concat([await compress('lz4', Buffer.from('one')), await compress('lz4', Buffer.from('two'))])
    expect(decompressLz4(twice, LIMIT).toString()).toBe('onetwo')
  })

  it("takes the header checksum of Kafka's first clients where it may occur", async () => {
    const frame = Buffer.from(await compress('lz4', Buffer.from('hello')))
    frame[6] = (xxhash32(frame, 0, 6) >>> 8) & 255
    expect(() => decompressLz4(frame, LIMIT)).toThrow(/checksum of the frame header/)
    expect(decompressLz4(frame, LIMIT, true).toString()).toBe('hello')
  })
})

describe('CRC-32C', () => {
  // RFC 3720, B.4, and the check value of the algorithm.
  it.each([
    [Buffer.from('123456789'), 0xe3069283],
    [Buffer.alloc(32), 0x8a9136aa],
    [Buffer.alloc(32, 0xff), 0x62a8ab43],
    [Buffer.from(Array.from({ length: 32 }, (_, index) => index)), 0x46dd794e],
  ])('of %o is %i', (data, crc) => {
    expect(crc32c(data)).toBe(crc)
    expect(crc32cInJs(data)).toBe(crc)
  })

  it('is the same in WebAssembly and in JavaScript, for every size and start', () => {
    const data = Buffer.from(seededRandom('crc').bytes(400_000))
    const from = (first: number, count: number) => Array.from({ length: count }, (_, index) => first + index)
    // Where tables take over from one another, where folding begins and ends, and where the module's memory is full.
    const sizes = [...from(0, 900), ...from(3_071, 3), ...from(8_190, 140), ...from(298_870, 20), 399_990]
    for (const size of sizes) {
      const start = size % 9
      expect(crc32c(data, start, start + size)).toBe(crc32cInJs(data, start, start + size))
    }
  })
})
