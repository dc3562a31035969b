// What a record costs the Kafka client on one core, without a socket:
//
//     node --conditions=busbar-source bench/kafka/records.ts
//
// CPU time of this process, the median of five rounds: other programs on the machine disturb it less than the clock.

import { randomBytes } from 'node:crypto'
import { BatchBuilder, NO_PRODUCER, stampBatch } from '../../src/kafka/records/batch-builder.ts'
import { CODECS } from '../../src/kafka/records/batch-format.ts'
import { compress, decompress } from '../../src/kafka/records/compression/index.ts'
import { crc32c, crc32cInJs } from '../../src/kafka/records/crc32c.ts'
import { decodeRecords } from '../../src/kafka/records/decode-records.ts'
import { checkCrc, scanBatches } from '../../src/kafka/records/record-batch.ts'
import type { RecordBatch } from '../../src/kafka/records/record-batch.ts'
import { decodeResponse, encodeRequest } from '../../src/kafka/protocol/frames.ts'
import { Writer } from '../../src/kafka/bytes/writer.ts'
import { apiOf } from '../../src/kafka/protocol/apis.ts'
import { writeMessage } from '../../src/kafka/protocol/write-message.ts'
import { median } from '../harness/median.ts'

const ROUNDS = 5
const TIME = 1_700_000_000_000
/** Keeps results alive, so that nothing is optimized away. */
let sink = 0

function cpuNanoseconds(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) * 1_000
}

/** Nanoseconds of one call. */
function measure(calls: number, run: () => void): number {
  for (let call = 0; call < calls / 4; call++) run()
  const rounds: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const start = cpuNanoseconds()
    for (let call = 0; call < calls; call++) run()
    rounds.push((cpuNanoseconds() - start) / calls)
  }
  return median(rounds)
}

function report(name: string, nanoseconds: number): void {
  const rate = `${(1_000 / nanoseconds).toFixed(1)} M/s`
  console.log(`${name.padEnd(58)}${nanoseconds.toFixed(1).padStart(8)} ns/record${rate.padStart(12)}`)
}

function reportRecords(size: number, count: number): void {
  const block = Buffer.allocUnsafe(1 << 20)
  const values = Array.from({ length: count }, () => Buffer.from(randomBytes(size).toString('hex').slice(0, size)))
  const texts = values.map(String)
  const keys = values.map((_, index) => `key-${index}`)
  const calls = Math.ceil(400_000 / count)
  const build = (key: readonly string[] | undefined, value: readonly (Buffer | string)[]): Buffer => {
    const builder = new BatchBuilder(block, 256)
    for (let index = 0; index < count; index++) builder.append(key?.[index] ?? null, value[index] ?? null, TIME + index)
    return builder.seal()
  }
  const label = (what: string) => `${size} B × ${count}: ${what}`
  const perRecord = (run: () => void) => measure(calls, run) / count
  report(
    label('encode, values are bytes'),
    perRecord(() => (sink += build(undefined, values).length)),
  )
  report(
    label('encode and CRC'),
    perRecord(() => stampBatch(build(undefined, values), NO_PRODUCER)),
  )
  report(
    label('encode, key and value are strings'),
    perRecord(() => (sink += build(keys, texts).length)),
  )
  const bytes = Buffer.from(build(undefined, values))
  stampBatch(bytes, NO_PRODUCER)
  const batch = (): RecordBatch => scanBatches(bytes)[0] as RecordBatch
  report(
    label('decode to views'),
    perRecord(() => (sink += decodeRecords(batch()).length)),
  )
  const checked = () => {
    const scanned = batch()
    checkCrc(scanned)
    return decodeRecords(scanned)
  }
  report(
    label('CRC and decode'),
    perRecord(() => (sink += checked().length)),
  )
  report(
    label('CRC, decode, value as bytes'),
    perRecord(() => {
      for (const record of checked()) sink += record.value?.length ?? 0
    }),
  )
  report(
    label('CRC, decode, value as string'),
    perRecord(() => {
      for (const record of checked()) sink += record.valueText?.length ?? 0
    }),
  )
}

function reportMessages(): void {
  const records = Buffer.alloc(1_000)
  const partitions = Array.from({ length: 20 }, (_, index) => index)
  const produce = () =>
    encodeRequest(
      'Produce',
      12,
      { correlationId: 1, clientId: 'bench' },
      {
        acks: -1,
        timeoutMs: 30_000,
        topicData: [{ name: 'orders', partitionData: partitions.map((index) => ({ index, records })) }],
      },
    ).length
  const perPartition = (run: () => void) => measure(5_000, run) / partitions.length
  const print = (name: string, nanoseconds: number) =>
    console.log(`${name.padEnd(58)}${nanoseconds.toFixed(1).padStart(8)} ns/partition`)
  print(
    'Produce v12 of 20 partitions, request',
    perPartition(() => (sink += produce())),
  )
  const writer = new Writer()
  writer.i32(1)
  writer.uvarint(0)
  const responses = [
    { topicId: 'AAAAAAAAAAAAAAAAAAAAAQ', partitions: partitions.map((index) => partitionOf(index, records)) },
  ]
  const body = { throttleTimeMs: 0, errorCode: 0, sessionId: 1, responses }
  writeMessage(apiOf('Fetch').response(17), body, writer, 'Fetch')
  const frame = writer.toBuffer()
  print(
    'Fetch v17 of 20 partitions, response',
    perPartition(() => (sink += decodeResponse('Fetch', 17, frame).responses.length)),
  )
}

function partitionOf(partitionIndex: number, records: Buffer) {
  const offsets = { highWatermark: 5, lastStableOffset: 5, logStartOffset: 0 }
  return { partitionIndex, errorCode: 0, ...offsets, abortedTransactions: null, preferredReadReplica: -1, records }
}

function reportBytes(): void {
  const gigabytes = (size: number, nanoseconds: number) => `${(size / nanoseconds).toFixed(2)} GB/s`
  for (const size of [1_024, 16_384, 131_072]) {
    const data = randomBytes(size)
    const calls = Math.ceil(50_000_000 / size)
    const inWasm = measure(calls, () => (sink += crc32c(data)))
    const inJs = measure(calls, () => (sink += crc32cInJs(data)))
    console.log(`CRC-32C, ${size} B: ${gigabytes(size, inWasm)}; without WebAssembly ${gigabytes(size, inJs)}`)
  }
}

async function reportCodecs(): Promise<void> {
  const line = (index: number) => `{"id":${index},"name":"order-${index * 7919}","total":${(index * 31) % 997}}\n`
  const data = Buffer.from(Array.from({ length: 1_100 }, (_, index) => line(index)).join('')).subarray(0, 60_000)
  const megabytes = (nanoseconds: number) => `${Math.round((data.length / nanoseconds) * 1_000)} MB/s`
  for (const codec of CODECS.slice(1)) {
    const packed = await compress(codec, data)
    const packing = measure(100, () => (sink += (compress(codec, data) as Buffer).length))
    const unpacking = measure(100, () => (sink += (decompress(codec, packed, { limit: 1 << 26 }) as Buffer).length))
    const ratio = (data.length / packed.length).toFixed(1)
    console.log(`${codec}: ${megabytes(packing)} in, ${megabytes(unpacking)} out, ${ratio}:1 (60 kB of JSON lines)`)
  }
}

reportRecords(100, 1_000)
reportRecords(1_000, 200)
reportMessages()
reportBytes()
await reportCodecs()
if (sink === 0) console.log('nothing was measured')
