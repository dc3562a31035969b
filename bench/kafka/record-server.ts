// A broker for measurements: it answers every fetch at once with the same batches, numbered on. Runs as a process of its own:
//
//     node --conditions=busbar-source bench/kafka/record-server.ts <partitions> <bytes of a value> <records of a batch>
//
// and prints its port.

import { randomBytes } from 'node:crypto'
import { createServer } from 'node:net'
import type { Socket } from 'node:net'
import { Reader } from '../../src/kafka/bytes/reader.ts'
import { Writer } from '../../src/kafka/bytes/writer.ts'
import { FrameSplitter } from '../../src/kafka/network/frame-splitter.ts'
import { allApis, apiOf } from '../../src/kafka/protocol/apis.ts'
import { API_KEYS } from '../../src/kafka/protocol/generated/api-types.ts'
import type { ApiName } from '../../src/kafka/protocol/generated/api-types.ts'
import { readMessage } from '../../src/kafka/protocol/read-message.ts'
import { writeMessage } from '../../src/kafka/protocol/write-message.ts'
import { BatchBuilder, NO_PRODUCER, stampBatch } from '../../src/kafka/records/batch-builder.ts'

const TOPIC = 'records'
const TOPIC_ID = 'AAAAAAAAAAAAAAAAAAAAAQ'
const VERSIONS: Partial<Record<ApiName, number>> = { ApiVersions: 3, Metadata: 12, ListOffsets: 7, Fetch: 13 }
const OFFSET_BYTES = 8

const [partitionCount = 60, valueBytes = 100, batchRecords = 1_000] = process.argv.slice(2).map(Number)
const names = new Map([...allApis().keys()].map((name) => [API_KEYS[name], name]))
const batch = makeBatch()
/** Shared by all answers: only the offset before it differs. */
const body = batch.subarray(OFFSET_BYTES)
let port = 0

function makeBatch(): Buffer {
  const builder = new BatchBuilder(Buffer.alloc(batchRecords * (valueBytes + 50) + 1_000), 256)
  for (let index = 0; index < batchRecords; index++) {
    builder.append(`key-${index}`, randomBytes(valueBytes).toString('latin1').slice(0, valueBytes), 1_700_000_000_000)
  }
  const sealed = Buffer.from(builder.seal())
  stampBatch(sealed, NO_PRODUCER)
  return sealed
}

function answer(socket: Socket, frame: Buffer): void {
  const reader = new Reader(frame)
  const name = names.get(reader.i16())
  const version = reader.i16()
  const correlationId = reader.i32()
  reader.strOrNull(false)
  if (name === undefined) throw new Error('an api that the server lacks')
  if (apiOf(name).isFlexible(version)) reader.skipTags()
  const request = readMessage(apiOf(name).request(version), reader) as never
  const writer = new Writer(4_096)
  writer.i32(0)
  writer.i32(correlationId)
  if (name !== 'ApiVersions' && apiOf(name).isFlexible(version)) writer.uvarint(0)
  writeMessage(apiOf(name).response(version), responseTo(name, request), writer, name)
  const { size } = writer
  const chunks = writer.chunks()
  chunks[0]?.writeInt32BE(size - 4, 0)
  socket.cork()
  for (const chunk of chunks) socket.write(chunk)
  socket.uncork()
}

interface FetchAsked {
  readonly maxBytes: number
  readonly topics: readonly {
    readonly partitions: readonly {
      readonly partition: number
      readonly fetchOffset: number
      readonly partitionMaxBytes: number
    }[]
  }[]
}

function responseTo(name: ApiName, request: FetchAsked): Record<string, unknown> {
  if (name === 'ApiVersions') {
    const apiKeys = Object.entries(VERSIONS).map(([api, maxVersion]) => {
      return { apiKey: API_KEYS[api as ApiName], minVersion: 0, maxVersion }
    })
    return { errorCode: 0, apiKeys }
  }
  if (name === 'Metadata') return metadata()
  if (name === 'Fetch') return records(request)
  return { topics: [{ name: TOPIC, partitions: indexes().map((partitionIndex) => offsetOf(partitionIndex)) }] }
}

function indexes(): number[] {
  return Array.from({ length: partitionCount }, (_, index) => index)
}

function offsetOf(partitionIndex: number) {
  return { partitionIndex, errorCode: 0, timestamp: -1, offset: 0, leaderEpoch: 0 }
}

function metadata(): Record<string, unknown> {
  const partitions = indexes().map((partitionIndex) => ({
    errorCode: 0,
    partitionIndex,
    leaderId: 1,
    leaderEpoch: 0,
    replicaNodes: [1],
    isrNodes: [1],
    offlineReplicas: [],
  }))
  return {
    brokers: [{ nodeId: 1, host: '127.0.0.1', port, rack: null }],
    clusterId: 'bench',
    controllerId: 1,
    topics: [{ errorCode: 0, name: TOPIC, topicId: TOPIC_ID, isInternal: false, partitions }],
  }
}

/** As many whole batches as were asked for, partition by partition; at least one. */
function records({ maxBytes, topics }: FetchAsked): Record<string, unknown> {
  let left = maxBytes
  const partitions = []
  for (const asked of topics[0]?.partitions ?? []) {
    const count = Math.floor(Math.min(left, asked.partitionMaxBytes) / batch.length)
    if (count === 0 && partitions.length > 0) break
    const parts: Buffer[] = []
    for (let index = 0; index < Math.max(1, count); index++) {
      const offset = Buffer.alloc(OFFSET_BYTES)
      offset.writeBigInt64BE(BigInt(asked.fetchOffset + index * batchRecords))
      parts.push(offset, body)
    }
    left -= Math.max(1, count) * batch.length
    const end = 1_000_000_000_000
    partitions.push({
      partitionIndex: asked.partition,
      errorCode: 0,
      highWatermark: end,
      lastStableOffset: end,
      logStartOffset: 0,
      abortedTransactions: null,
      preferredReadReplica: -1,
      records: parts,
    })
  }
  return { errorCode: 0, sessionId: 0, responses: [{ topicId: TOPIC_ID, partitions }] }
}

const server = createServer((socket) => {
  socket.setNoDelay(true)
  const splitter = new FrameSplitter(100 * 1024 * 1024)
  socket.on('data', (chunk) => splitter.push(chunk, (frame) => answer(socket, Buffer.from(frame))))
  socket.on('error', () => socket.destroy())
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  port = typeof address === 'object' && address !== null ? address.port : 0
  process.stdout.write(`${port}\n`)
})
process.on('disconnect', () => process.exit())
