import { createServer, connect } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { allApis } from '../../src/kafka/protocol/apis.ts'

/** Its size, and the number of what is asked: what a request begins with. */
const HEAD_BYTES = 6
const SIZE_BYTES = 4

const NAMES: ReadonlyMap<number, string> = new Map(
  [...allApis().values()].map(({ description: { key, name } }) => [key, name]),
)

/** What has gone through the proxy. */
export interface ProxyCounts {
  /** Requests by their name in the protocol. */
  readonly requests: ReadonlyMap<string, number>
  readonly bytesIn: number
  readonly bytesOut: number
  readonly connections: number
}

/**
 * Stands between clients and a broker that advertises its address, and counts requests on the wire: alike for each client, whatever that
 * client reports.
 */
export class KafkaProxy implements AsyncDisposable {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #requests = new Map<string, number>()
  #target = 0
  #bytesIn = 0
  #bytesOut = 0
  #connections = 0

  private constructor() {
    this.#server = createServer((client) => this.#join(client))
  }

  /** Listens; `target` says where the broker listens, which must know this address when it starts. */
  static async listen(): Promise<KafkaProxy> {
    const proxy = new KafkaProxy()
    await new Promise<void>((resolve) => {
      proxy.#server.listen(0, '127.0.0.1', resolve)
    })
    return proxy
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  target(port: number): void {
    this.#target = port
  }

  counts(): ProxyCounts {
    return {
      requests: new Map(this.#requests),
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      connections: this.#connections,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => {
      this.#server.close(resolve)
    })
  }

  #join(client: Socket): void {
    const broker = connect({ port: this.#target, host: '127.0.0.1', noDelay: true })
    client.setNoDelay(true)
    const reader = new RequestReader((api) => this.#requests.set(api, (this.#requests.get(api) ?? 0) + 1))
    this.#connections++
    client.on('data', (chunk) => {
      reader.push(chunk)
      this.#bytesIn += chunk.length
    })
    broker.on('data', (chunk) => {
      this.#bytesOut += chunk.length
    })
    const end = (): void => {
      if (!this.#sockets.delete(client)) return
      this.#connections--
      this.#sockets.delete(broker)
      client.destroy()
      broker.destroy()
    }
    for (const [socket, other] of [
      [client, broker],
      [broker, client],
    ] as const) {
      this.#sockets.add(socket)
      socket.on('error', end)
      socket.on('close', end)
      socket.pipe(other)
    }
  }
}

/** Finds the beginnings of requests in what a client sends. */
class RequestReader {
  readonly #found: (api: string) => void
  #rest: Buffer = Buffer.alloc(0)
  /** Bytes of the request that are still to come. */
  #left = 0

  constructor(found: (api: string) => void) {
    this.#found = found
  }

  push(chunk: Buffer): void {
    const passed = Math.min(this.#left, chunk.length)
    this.#left -= passed
    let rest = Buffer.concat([this.#rest, chunk.subarray(passed)])
    while (rest.length >= HEAD_BYTES) {
      const size = rest.readInt32BE(0) + SIZE_BYTES
      this.#found(NAMES.get(rest.readInt16BE(SIZE_BYTES)) ?? 'unknown')
      this.#left = Math.max(0, size - rest.length)
      rest = rest.subarray(size)
    }
    this.#rest = rest
  }
}
