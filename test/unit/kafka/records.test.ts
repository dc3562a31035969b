import { describe, expect, it } from 'vitest'
import { KafkaError, MalformedError } from '../../../src/kafka/errors.ts'
import { BatchBuilder, maxRecordSize, NO_PRODUCER, stampBatch } from '../../../src/kafka/records/batch-builder.ts'
import type { RecordBytes, RecordHeader } from '../../../src/kafka/records/batch-builder.ts'
import { BATCH } from '../../../src/kafka/records/batch-format.ts'
import { BlockPool } from '../../../src/kafka/records/block-pool.ts'
import { readControlRecord } from '../../../src/kafka/records/control-record.ts'
import { readRecords } from '../../../src/kafka/records/read-records.ts'
import type { KafkaRecord } from '../../../src/kafka/records/record.ts'
import { checkCrc, scanBatches } from '../../../src/kafka/records/record-batch.ts'
import type { RecordBatch } from '../../../src/kafka/records/record-batch.ts'
import { murmur2, partitionOfKey } from '../../../src/kafka/records/murmur2.ts'
import { seededRandom } from '../../../src/testing/random.ts'
import type { Random } from '../../../src/testing/random.ts'
import { GOLDEN_MURMUR2, GOLDEN_RECORDS, goldenContent } from './golden-records.ts'

const TIME = 1_700_000_000_000

function golden(name: string): Buffer {
  const bytes = GOLDEN_RECORDS.get(name)
  if (bytes === undefined) throw new Error(`no golden ${name}`)
  return bytes
}

async function contentOf(records: Buffer) {
  const content = []
  for (const batch of scanBatches(records)) for (const record of await readRecords(batch)) content.push(plain(record))
  return content
}

function plain(record: KafkaRecord) {
  const { offset, timestamp, keyText, valueText } = record
  expect(record.key?.toString() ?? null).toBe(keyText)
  expect(record.value?.toString() ?? null).toBe(valueText)
  const headers = record.headers.map(({ key, value }) => ({ key, value: value?.toString() ?? null }))
  const texts: typeof headers = []
  record.eachHeader((key, value) => void texts.push({ key, value }))
  expect(texts).toEqual(headers)
  return { offset, timestamp, key: keyText, value: valueText, headers }
}

interface Given {
  readonly key: RecordBytes
  readonly value: RecordBytes
  readonly timestamp: number
  readonly headers: readonly RecordHeader[]
}

function batchOf(records: readonly Given[], block: Buffer = Buffer.alloc(100_000), room = 0): Buffer {
  const builder = new BatchBuilder(block, room)
  for (const { key, value, timestamp, headers } of records) {
    expect(builder.append(key, value, timestamp, headers)).toBe(true)
  }
  const batch = builder.seal()
  stampBatch(batch, NO_PRODUCER)
  return batch
}

function only(records: Buffer): RecordBatch {
  const batches = scanBatches(records)
  const [batch] = batches
  if (batch === undefined || batches.length !== 1) throw new Error(`${batches.length} batches`)
  return batch
}

describe("what Kafka's own classes wrote", () => {
  it.each([...GOLDEN_RECORDS.keys()].filter((name) => name.startsWith('v')))('is read: %s', async (name) => {
    expect(await contentOf(golden(name))).toEqual(goldenContent(Number(name[1])))
  })

  it('has the header fields where they are looked for', () => {
    expect(only(golden('v2-none'))).toMatchObject({
      magic: 2,
      baseOffset: 100,
      lastOffset: 111,
      leaderEpoch: 6,
      codec: 'none',
      isTransactional: true,
      isControl: false,
      isLogAppendTime: false,
      baseTimestamp: TIME,
      maxTimestamp: TIME + 110,
      producerId: 4_242n,
      producerEpoch: 3,
      baseSequence: 17,
      count: 12,
    })
  })

  it('is what we write, byte by byte', () => {
    const builder = new BatchBuilder(Buffer.alloc(10_000), 100)
    for (const { key, value, timestamp, headers } of goldenContent(2)) {
      expect(builder.append(key, value === null ? null : Buffer.from(value), timestamp, headers)).toBe(true)
    }
    const batch = builder.seal()
    stampBatch(batch, { producerId: 4_242n, producerEpoch: 3, baseSequence: 17, isTransactional: true })
    // Offset and leader epoch are the broker's.
    const expected = Buffer.from(golden('v2-none'))
    expected.writeBigInt64BE(0n, BATCH.baseOffset)
    expected.writeInt32BE(-1, BATCH.leaderEpoch)
    expect(batch.toString('hex')).toBe(expected.toString('hex'))
  })

  it.each([
    ['control-commit', { type: 'commit', coordinatorEpoch: 9 }],
    ['control-abort', { type: 'abort', coordinatorEpoch: 9 }],
  ])('is read: %s', async (name, marker) => {
    const batch = only(golden(name))
    expect(batch).toMatchObject({ isControl: true, isTransactional: true, producerId: 42n, producerEpoch: 5 })
    const [record] = await readRecords(batch)
    expect(record && readControlRecord(record)).toEqual(marker)
  })
})

describe('murmur2', () => {
  it.each(GOLDEN_MURMUR2)('of %o is that of Java', (key, hash) => {
    expect(murmur2(key)).toBe(hash)
  })

  // The values of Kafka's own UtilsTest.
  it.each([
    ['21', -973_932_308],
    ['foobar', -790_332_482],
    ['a-little-bit-long-string', -985_981_536],
    ['a-little-bit-longer-string', -1_486_304_829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58_897_971],
  ])('of %s is that of Java', (key, hash) => {
    expect(murmur2(Buffer.from(key))).toBe(hash)
    expect(partitionOfKey(Buffer.from(key), 7)).toBe((hash & 0x7fff_ffff) % 7)
  })
})

describe('a batch that we build', () => {
  const texts = ['', 'a', 'größe', 'x'.repeat(23), 'ü'.repeat(13), 'y'.repeat(25), '🚌'.repeat(500), 'z'.repeat(9_000)]

  function randomRecord(random: Random): Given {
    const bytes = (): RecordBytes =>
      random.pick<() => RecordBytes>([
        () => null,
        () => random.pick(texts),
        () => Buffer.from(random.pick(texts)),
        () => new Uint8Array(Buffer.from(random.pick(texts))),
      ])()
    const headers = Array.from({ length: random.pick([0, 0, 0, 1, 2, 70]) }, () => ({
      key: random.pick(texts),
      value: bytes(),
    }))
    const timestamp = random.pick([0, TIME, TIME + 1, TIME - 5_000_000_000, -1, 2 ** 53 - 1])
    return { key: bytes(), value: bytes(), timestamp, headers }
  }

  const text = (value: RecordBytes) => (value === null ? null : Buffer.from(value as string).toString())

  it('has all that was appended, and no more than was promised', async () => {
    const random = seededRandom('records')
    const block = Buffer.alloc(8_000_000, 0xee)
    for (let round = 0; round < 60; round++) {
      const given = Array.from({ length: random.integer(1, 40) }, () => randomRecord(random))
      const sizes = given.map(({ key, value, headers }) => maxRecordSize(key, value, headers))
      const batch = batchOf(given, block, 64)
      expect(batch.length).toBeLessThanOrEqual(BATCH.records + sizes.reduce((sum, size) => sum + size, 0))
      expect(await contentOf(batch)).toEqual(
        given.map(({ key, value, timestamp, headers }, index) => ({
          offset: index,
          timestamp,
          key: text(key),
          value: text(value),
          headers: headers.map((header) => ({ key: header.key, value: text(header.value) })),
        })),
      )
      expect(only(batch).maxTimestamp).toBe(Math.max(...given.map(({ timestamp }) => timestamp)))
    }
    expect(block.subarray(0, 64)).toEqual(Buffer.alloc(64, 0xee))
  })

  it('refuses a record that does not fit, and stays as it was', async () => {
    const builder = new BatchBuilder(Buffer.alloc(200), 10)
    expect(builder.append(null, 'x'.repeat(100), TIME)).toBe(true)
    const { size } = builder
    expect(builder.append(null, 'y'.repeat(100), TIME)).toBe(false)
    expect([builder.size, builder.count]).toEqual([size, 1])
    // To the last byte: length, attributes, two deltas, key, length of value, headers.
    expect(builder.append(null, 'z'.repeat(190 - size - 7), TIME)).toBe(true)
    expect(builder.size).toBe(190)
    const batch = builder.seal()
    stampBatch(batch, NO_PRODUCER)
    expect(await contentOf(batch)).toHaveLength(2)
  })

  it('refuses a timestamp that is none, and a batch without records', () => {
    expect(() => new BatchBuilder(Buffer.alloc(100)).append(null, '', 1.5)).toThrow(KafkaError)
    expect(() => new BatchBuilder(Buffer.alloc(100)).seal()).toThrow(KafkaError)
  })

  it('can be stamped again, for another epoch', () => {
    const batch = batchOf([{ key: null, value: 'v', timestamp: TIME, headers: [] }])
    stampBatch(batch, { producerId: 7n, producerEpoch: 1, baseSequence: 90, isTransactional: true })
    expect(only(batch)).toMatchObject({ producerId: 7n, producerEpoch: 1, baseSequence: 90, isTransactional: true })
    stampBatch(batch, { producerId: 7n, producerEpoch: 2, baseSequence: 0, isTransactional: false })
    expect(only(batch)).toMatchObject({ producerId: 7n, producerEpoch: 2, baseSequence: 0, isTransactional: false })
    expect(() => checkCrc(only(batch))).not.toThrow()
  })
})

describe('a record', () => {
  it('can be copied out of its response', async () => {
    const headers = [{ key: 'h', value: 'w' }]
    const batch = batchOf([
      { key: 'k', value: 'v', timestamp: TIME, headers },
      { key: null, value: null, timestamp: TIME, headers: [] },
    ])
    const [first, tombstone] = await readRecords(only(batch))
    if (first === undefined || tombstone === undefined) throw new Error('two records expected')
    const copies = [first.copy(), tombstone.copy()]
    const before = [plain(first), plain(tombstone)]
    expect(copies[0]?.value?.buffer.byteLength).toBeLessThan(20)
    batch.fill(0)
    expect(copies.map(plain)).toEqual(before)
  })

  it('has the time of the broker where the topic wants that', async () => {
    const batch = batchOf([1, 2].map((n) => ({ key: null, value: 'v', timestamp: TIME + n, headers: [] })))
    batch.writeInt16BE(8, BATCH.attributes)
    batch.writeBigInt64BE(BigInt(TIME + 500), BATCH.maxTimestamp)
    const records = await readRecords(only(batch), { checkCrc: false })
    expect(records.map(({ timestamp }) => timestamp)).toEqual([TIME + 500, TIME + 500])
  })
})

describe('the records of a fetch', () => {
  const whole = Buffer.concat([golden('v2-lz4'), golden('v2-none'), golden('v1-gzip')])

  it('may end within a batch, which comes again', async () => {
    const first = golden('v2-lz4').length
    for (let size = first; size < first + golden('v2-none').length; size++) {
      expect(scanBatches(whole.subarray(0, size))).toHaveLength(1)
    }
    expect(await contentOf(whole)).toHaveLength(36)
  })

  it('are refused when a batch is not as it was written', () => {
    const bytes = Buffer.from(golden('v2-none'))
    for (let pos = BATCH.attributes; pos < bytes.length; pos += 7) {
      bytes[pos] = (bytes[pos] as number) ^ 0x10
      expect(() => scanBatches(bytes).map(checkCrc)).toThrow(MalformedError)
      bytes[pos] = (bytes[pos] as number) ^ 0x10
    }
  })

  it('end in a typed error or a value, whatever they are, without check of the CRC', async () => {
    const random = seededRandom('hostile records')
    const counts = { values: 0, errors: 0 }
    const names = [...GOLDEN_RECORDS.keys()]
    for (let round = 0; round < 3_000; round++) {
      const bytes = Buffer.from(golden(random.pick(names)))
      for (let flips = random.integer(1, 4); flips > 0; flips--) {
        bytes[random.integer(0, bytes.length - 1)] = random.pick([0, 0x7f, 0x80, 0xff, random.integer(0, 255)])
      }
      try {
        for (const batch of scanBatches(bytes)) {
          const records = await readRecords(batch, { checkCrc: false, maxBatchBytes: 1_000_000 })
          for (const record of records) expect(record.headers.length + (record.value?.length ?? 0)).toBeLessThan(1e6)
        }
        counts.values++
      } catch (error) {
        if (!(error instanceof MalformedError)) throw error
        counts.errors++
      }
    }
    expect(counts.values).toBeGreaterThan(200)
    expect(counts.errors).toBeGreaterThan(200)
  })

  it('refuse a count of records that has no room', () => {
    const bytes = Buffer.from(golden('v2-none'))
    bytes.writeInt32BE(2 ** 31 - 1, BATCH.count)
    expect(() => readRecords(only(bytes), { checkCrc: false })).toThrow(/claims 2147483647 records/)
  })
})

describe('the pool of blocks', () => {
  it('gives powers of two from 16 KiB to 1 MiB, and takes them back within its bound', () => {
    const pool = new BlockPool(100_000)
    expect([1, 16_384, 16_385, 1_048_576].map((size) => pool.take(size).length)).toEqual([
      16_384, 16_384, 32_768, 1_048_576,
    ])
    expect(pool.take(2_000_001).length).toBe(2_000_001)
    const block = pool.take(20_000)
    pool.give(block)
    expect(pool.freeBytes).toBe(32_768)
    expect(pool.take(32_768)).toBe(block)
    for (let count = 0; count < 10; count++) pool.give(Buffer.alloc(32_768))
    expect(pool.freeBytes).toBe(98_304)
    pool.give(Buffer.alloc(1_000))
    pool.give(Buffer.alloc(20_000))
    expect(pool.freeBytes).toBe(98_304)
  })
})
