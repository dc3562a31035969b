import { createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { systemClock } from '../../../src/kafka/network/clock.ts'
import { nodeSockets } from '../../../src/kafka/network/sockets.ts'
import { FakeBroker } from './fake-broker.ts'

const servers: Server[] = []
const accepted: Socket[] = []

afterEach(() => {
  for (const socket of accepted.splice(0)) socket.destroy()
  for (const server of servers.splice(0)) server.close()
})

/** A server on which the fake broker answers what real sockets bring. */
async function listen(onData: (socket: Socket, chunk: Buffer) => void): Promise<number> {
  const server = createServer((socket) => {
    accepted.push(socket)
    socket.on('error', () => {})
    socket.on('data', (chunk) => onData(socket, chunk))
  })
  servers.push(server)
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  return (server.address() as AddressInfo).port
}

function connect(port: number) {
  return new FakeBroker().connection(systemClock, { address: { host: '127.0.0.1', port }, openSocket: nodeSockets() })
}

it('carries requests of several chunks, and their answers', async () => {
  const broker = new FakeBroker()
  const port = await listen((socket, chunk) => {
    broker.read(chunk)
    for (const request of broker.asked.splice(0)) socket.write(broker.answerTo(request))
  })
  const connection = connect(port)
  await connection.ready
  const records = Array.from({ length: 50 }, (_, index) => Buffer.alloc(40_000, index))
  const partitionData = records.map((batch, index) => ({ index, records: [batch, batch] }))
  const { response } = await connection.send('Produce', { acks: 1, timeoutMs: 1, topicData: [{ partitionData }] })
  expect(response.throttleTimeMs).toBe(0)
  const topics = broker.answered.at(-1)?.body['topicData'] as { partitionData: { records: Buffer }[] }[]
  const received = topics[0]?.partitionData.map((partition) => partition.records)
  expect(received?.map((batch) => batch.length)).toEqual(records.map(() => 80_000))
  expect(received?.every((batch, index) => batch.every((byte) => byte === index))).toBe(true)
  connection.close()
})

it('ends when the other side does, and says why it could not connect', async () => {
  const port = await listen((socket) => socket.resetAndDestroy())
  const lost = connect(port)
  expect(await lost.ended).toMatchObject({ code: 'CONNECTION_CLOSED' })
  servers.splice(0).forEach((server) => server.close())
  const refused = connect(port)
  expect((await refused.ended).message).toMatch(/ECONNREFUSED/)
})
