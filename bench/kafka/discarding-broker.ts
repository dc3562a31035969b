// A broker that reads what it is sent and throws it away, so that a benchmark measures the client alone: one node, in a process of its
// own. `start` forks it.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { API_KEYS } from '../../src/kafka/protocol/generated/api-types.ts'
import type { ApiName } from '../../src/kafka/protocol/generated/api-types.ts'
import { apiOf } from '../../src/kafka/protocol/apis.ts'
import { writeResponseFrame } from '../../test/unit/kafka/sim/wire.ts'
import type { RequestFrame } from '../../test/unit/kafka/sim/wire.ts'
import { RequestWalker } from './request-walker.ts'
import type { ProduceHead } from './request-walker.ts'

/** The topic that it has. */
export const TOPIC = 'bench'
export const PARTITIONS = 3

const TOPIC_ID = 'AAAAAAAAAAAAAAAAAAAAAQ'
const APIS: readonly ApiName[] = ['ApiVersions', 'Metadata', 'InitProducerId', 'Produce']

export interface DiscardingBroker {
  readonly address: string
  stop(): Promise<void>
}

export async function start(): Promise<DiscardingBroker> {
  const child = fork(import.meta.filename, { execArgv: process.execArgv })
  const [port] = (await once(child, 'message')) as [number]
  return {
    address: `127.0.0.1:${port}`,
    stop: async () => {
      child.kill()
      await once(child, 'exit')
    },
  }
}

/** Of all partitions. Nothing is stored, so it means nothing. */
let nextOffset = 0

function answer(request: RequestFrame, port: number): object {
  switch (request.name) {
    case 'ApiVersions':
      return {
        errorCode: 0,
        apiKeys: APIS.map((name) => {
          const { first, last } = apiOf(name).versions
          return { apiKey: API_KEYS[name], minVersion: first, maxVersion: last }
        }),
      }
    case 'Metadata': {
      const partitions = Array.from({ length: PARTITIONS }, (_, partitionIndex) => ({
        errorCode: 0,
        partitionIndex,
        leaderId: 1,
        leaderEpoch: 0,
        replicaNodes: [1],
        isrNodes: [1],
      }))
      const brokers = [{ nodeId: 1, host: '127.0.0.1', port, rack: null }]
      const topics = [{ errorCode: 0, name: TOPIC, topicId: TOPIC_ID, isInternal: false, partitions }]
      return { brokers, clusterId: 'bench', controllerId: 1, topics }
    }
    case 'InitProducerId':
      return { errorCode: 0, producerId: 1n, producerEpoch: 0 }
    default:
      throw new Error(`${request.name} is not served`)
  }
}

function answerProduce({ version, correlationId, topics }: ProduceHead): Buffer {
  const request: RequestFrame = { name: 'Produce', version, correlationId, clientId: null, body: {} }
  const responses = topics.map(({ name, topicId, partitions }) => ({
    name,
    topicId,
    partitionResponses: partitions.map((index) => ({ index, errorCode: 0, baseOffset: (nextOffset += 1_000) })),
  }))
  return writeResponseFrame(request, { responses })
}

function serve(socket: Socket, port: number): void {
  const walker = new RequestWalker({
    produce: (head) => {
      if (head.acks !== 0) socket.write(answerProduce(head))
    },
    request: (request) => void socket.write(writeResponseFrame(request, answer(request, port))),
  })
  socket.setNoDelay(true)
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => walker.push(chunk))
}

if (process.send !== undefined && import.meta.main) {
  const server = createServer((socket) => serve(socket, (server.address() as AddressInfo).port))
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port))
  process.once('disconnect', () => process.exit())
}
