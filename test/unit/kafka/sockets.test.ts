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

function connect(port: number, openSocket = nodeSockets()) {
  return new FakeBroker().connection(systemClock, { address: { host: '127.0.0.1', port }, openSocket })
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

it('says that a port may not be for TLS', async () => {
  const tls = nodeSockets(() => ({}))
  const closing = await listen((socket) => socket.end())
  const answering = await listen((socket) => socket.write(Buffer.alloc(64)))
  for (const port of [closing, answering]) {
    const { message, cause } = await connect(port, tls).ended
    expect(message).toContain(`: is 127.0.0.1:${port} a port for TLS?`)
    expect(cause).toBeInstanceOf(Error)
  }
})

it('says that a port may be for TLS', async () => {
  const closing = await listen((socket) => socket.end())
  expect((await connect(closing).ended).message).toMatch(/nothing was answered: is the port for TLS\?$/)
  // A fatal alert of TLS 1.2, "unexpected message".
  const alerting = await listen((socket) => socket.end(Buffer.from('15030300020210', 'hex')))
  expect(await connect(alerting).ended).toMatchObject({
    action: 'fatal',
    message: expect.stringContaining('the port is for TLS'),
  })
})

it('ends when the other side does, and says why it could not connect', async () => {
  const port = await listen((socket) => socket.resetAndDestroy())
  const lost = connect(port)
  expect(await lost.ended).toMatchObject({ code: 'CONNECTION_CLOSED' })
  servers.splice(0).forEach((server) => server.close())
  const refused = connect(port)
  expect((await refused.ended).message).toMatch(/ECONNREFUSED/)
})
