import { createServer, connect } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { tcpProxy } from '../../../src/testing/tcp-proxy.ts'
import type { TcpProxy } from '../../../src/testing/tcp-proxy.ts'
import { waitUntil } from '../../../src/testing/wait-until.ts'

interface Client {
  readonly socket: Socket
  readonly received: () => string
  readonly state: { closed: boolean; ended: boolean; error: string | undefined }
}

let server: Server
let serverSockets: Socket[]
let proxy: TcpProxy
let clients: Client[]

beforeEach(async () => {
  serverSockets = []
  clients = []
  server = createServer((socket) => {
    serverSockets.push(socket)
    socket.on('error', () => undefined)
    socket.on('data', (bytes) => socket.write(bytes))
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  proxy = await tcpProxy({ port: (server.address() as AddressInfo).port })
})

afterEach(async () => {
  for (const { socket } of clients) socket.destroy()
  await proxy.close()
  for (const socket of serverSockets) socket.destroy()
  await new Promise((resolve) => {
    server.close(resolve)
  })
})

async function client(): Promise<Client> {
  const socket = connect({ port: proxy.port, host: proxy.host, noDelay: true })
  const state: Client['state'] = { closed: false, ended: false, error: undefined }
  let text = ''
  socket.setEncoding('latin1').on('data', (more: string) => (text += more))
  socket.on('end', () => (state.ended = true))
  socket.on('error', (error) => (state.error = (error as NodeJS.ErrnoException).code))
  socket.on('close', () => (state.closed = true))
  const made = { socket, received: () => text, state }
  clients.push(made)
  await waitUntil(() => !socket.connecting)
  return made
}

async function echo(from: Client, text: string): Promise<void> {
  const expected = from.received() + text
  from.socket.write(text)
  await waitUntil(() => from.received() === expected, { timeoutMs: 2_000, describe: () => from.received() })
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('tcpProxy', () => {
  it('carries bytes both ways, counts them, and passes the end on', async () => {
    const one = await client()
    await echo(one, 'hello')
    expect([proxy.bytesUp, proxy.bytesDown, proxy.accepted, proxy.links.length]).toEqual([5, 5, 1, 1])
    one.socket.end()
    await waitUntil(() => proxy.links.length === 0 && one.state.closed)
    expect(one.state.error).toBeUndefined()
    expect([proxy.bytesUp, proxy.bytesDown]).toEqual([5, 5])
  })

  it('carries a megabyte unharmed', async () => {
    const one = await client()
    const text = Array.from({ length: 131_072 }, (_, index) => String.fromCharCode(33 + (index % 90)))
      .join('')
      .repeat(8)
    await echo(one, text)
    expect(proxy.bytesDown).toBe(1_048_576)
  })

  it('cuts all connections, and one alone', async () => {
    const [one, two] = [await client(), await client()]
    await echo(one, 'a')
    await echo(two, 'b')
    proxy.links[0]?.cut()
    await waitUntil(() => one.state.closed)
    await echo(two, 'c')
    proxy.cut()
    await waitUntil(() => two.state.closed)
    expect(proxy.links).toEqual([])
    await echo(await client(), 'new ones are welcome')
  })

  it('resets', async () => {
    const one = await client()
    await echo(one, 'a')
    proxy.reset()
    await waitUntil(() => one.state.closed)
    expect(one.state.error).toBe('ECONNRESET')
  })

  it('refuses new connections and accepts them again', async () => {
    const one = await client()
    await echo(one, 'a')
    proxy.refuse()
    const two = await client()
    await waitUntil(() => two.state.closed)
    expect(proxy.refused).toBe(1)
    await echo(one, 'still here')
    proxy.accept()
    await echo(await client(), 'b')
  })

  it('resets a client when the target refuses, and finds a new target', async () => {
    const alive = { port: (server.address() as AddressInfo).port }
    proxy.retarget({ port: 1 })
    const one = await client()
    await waitUntil(() => one.state.closed)
    expect(one.state.error).toBe('ECONNRESET')
    proxy.retarget(alive)
    await echo(await client(), 'back')
  })

  it('delays each chunk and keeps order under jitter', async () => {
    const one = await client()
    proxy.slow({ delayMs: 60 }, 'up')
    const start = performance.now()
    await echo(one, 'slow')
    expect(performance.now() - start).toBeGreaterThanOrEqual(59)
    proxy.resume()
    proxy.slow({ jitterMs: 15 })
    let expected = one.received()
    for (let number = 0; number < 30; number++) {
      one.socket.write(`${number},`)
      expected += `${number},`
      await turn()
    }
    await waitUntil(() => one.received() === expected, { describe: one.received })
  })

  it('drips', async () => {
    const one = await client()
    proxy.slow({ bytesPerSecond: 1_000 }, 'down')
    const start = performance.now()
    await echo(one, 'x'.repeat(200))
    expect(performance.now() - start).toBeGreaterThanOrEqual(150)
  })

  it('stalls without losing anything, new connections too', async () => {
    const one = await client()
    await echo(one, 'a')
    proxy.stall()
    one.socket.write('held')
    const two = await client()
    two.socket.write('too')
    await waitUntil(() => proxy.bytesUp === 8)
    expect(one.received()).toBe('a')
    proxy.resume()
    await waitUntil(() => one.received() === 'aheld' && two.received() === 'too')
  })

  it('swallows in a black hole, ends included, and resets what was damaged on resume', async () => {
    const [one, untouched] = [await client(), await client()]
    await echo(one, 'a')
    await echo(untouched, 'b')
    proxy.blackhole('up')
    one.socket.write('gone')
    await waitUntil(() => proxy.bytesUp === 6)
    expect(serverSockets.map((socket) => socket.bytesRead)).toEqual([1, 1])
    expect(one.state.closed).toBe(false)
    proxy.resume()
    await waitUntil(() => one.state.closed)
    expect(one.state.error).toBe('ECONNRESET')
    await echo(untouched, 'fine')
  })

  it('leaves a half-open client behind', async () => {
    const one = await client()
    await echo(one, 'a')
    proxy.halfOpen()
    await waitUntil(() => serverSockets[0]?.destroyed)
    one.socket.write('anybody there?')
    await waitUntil(() => proxy.bytesUp === 15)
    expect(one.state).toEqual({ closed: false, ended: false, error: undefined })
    proxy.resume()
    await waitUntil(() => one.state.closed)
  })

  it('leaves a half-open target behind', async () => {
    const one = await client()
    await echo(one, 'a')
    proxy.halfOpen('target')
    await waitUntil(() => one.state.closed)
    expect(serverSockets[0]?.destroyed).toBe(false)
  })

  it('pushes back on the sender while it stalls', async () => {
    const one = await client()
    proxy.stall('up')
    const block = Buffer.alloc(1_048_576)
    for (let number = 0; number < 16; number++) one.socket.write(block)
    await waitUntil(() => proxy.bytesUp > 1_048_576)
    // What it has not read stays with the sender: far less than the 16 MiB went in.
    for (let round = 0; round < 50; round++) await turn()
    expect(proxy.bytesUp).toBeLessThan(4_194_304)
    expect(one.socket.writableLength).toBeGreaterThan(0)
    proxy.resume()
    await waitUntil(() => proxy.bytesUp === 16 * 1_048_576)
  })

  it('frees its port when it is closed', async () => {
    const one = await client()
    await proxy.close()
    await waitUntil(() => one.state.closed)
    const again = await tcpProxy({ port: (server.address() as AddressInfo).port }, { port: proxy.port })
    await again.close()
    await proxy.close()
  })

  it('says so when the port is taken', async () => {
    await expect(tcpProxy({ port: 1 }, { port: proxy.port })).rejects.toThrow(/can't listen on/)
  })
})
