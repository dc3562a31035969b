import type { KafkaSocket, OpenSocket, SocketHandlers } from '../../../../src/kafka/network/sockets.ts'
import type { SimClock } from './clock.ts'
import type { Random } from './random.ts'

/** A broker's end of a connection. */
export interface ServerSocket {
  readonly isOpen: boolean
  send(bytes: Buffer): void
  close(): void
}

export interface ServerHandlers {
  received(chunk: Buffer): void
  closed(): void
}

export type Accept = (socket: ServerSocket) => ServerHandlers

/** Sockets in memory: bytes arrive in order, late, and in any pieces. Hosts can refuse, swallow everything, or be unreachable. */
export class SimNetwork {
  readonly #clock: SimClock
  readonly #random: Random
  readonly #listeners = new Map<string, Accept>()
  readonly #blackHoles = new Set<string>()
  readonly #names = new Map<string, () => readonly string[]>()
  readonly #links = new Set<Link>()
  /** One way, in milliseconds: from, to. */
  latency: readonly [number, number] = [0.1, 1]
  /** Connections that clients have asked for, in order. */
  readonly dialled: string[] = []

  constructor(clock: SimClock, random: Random) {
    this.#clock = clock
    this.#random = random
  }

  /** Connections that are open at either end. */
  get open(): number {
    return this.#links.size
  }

  listen(host: string, port: number, accept: Accept): () => void {
    const address = `${host}:${port}`
    this.#listeners.set(address, accept)
    return () => {
      if (this.#listeners.get(address) === accept) this.#listeners.delete(address)
    }
  }

  /** From now on, connections to an address never succeed and never fail. */
  blackHole(host: string, port: number): void {
    this.#blackHoles.add(`${host}:${port}`)
  }

  /** What a name resolves to; none: it doesn't. Other names are their own address. */
  setName(name: string, addresses: readonly string[] | (() => readonly string[])): void {
    this.#names.set(name, typeof addresses === 'function' ? addresses : () => addresses)
  }

  readonly resolve = (host: string): Promise<readonly string[]> => {
    const addresses = this.#names.get(host)?.() ?? [host]
    return addresses.length > 0 ? Promise.resolve(addresses) : Promise.reject(new Error(`ENOTFOUND ${host}`))
  }

  readonly openSocket: OpenSocket = ({ host, port }, handlers) => {
    const address = `${host}:${port}`
    this.dialled.push(address)
    const link = new Link(this.#clock, () => this.#random.between(...this.latency), this.#random, handlers)
    this.#links.add(link)
    link.onEnd = () => this.#links.delete(link)
    if (this.#blackHoles.has(address)) return link.client
    this.#clock.setTimer(
      () => {
        const accept = this.#listeners.get(address)
        if (accept === undefined) link.refuse(new Error(`connect ECONNREFUSED ${address}`))
        else link.accept(accept)
      },
      this.#random.between(...this.latency),
    )
    return link.client
  }
}

type End = 'client' | 'server'

class Link {
  readonly #clock: SimClock
  readonly #latency: () => number
  readonly #random: Random
  readonly #handlers: SocketHandlers
  #server: ServerHandlers | undefined
  readonly #isOpen: Record<End, boolean> = { client: true, server: false }
  readonly #arrivesAt: Record<End, number> = { client: 0, server: 0 }
  onEnd: () => void = () => {}
  readonly client: KafkaSocket = {
    write: (chunks, written) => {
      // The bytes may be used again by the sender: a socket takes a copy.
      this.#transmit('server', Buffer.concat(chunks))
      written?.()
    },
    destroy: () => this.#close('client'),
  }

  constructor(clock: SimClock, latency: () => number, random: Random, handlers: SocketHandlers) {
    this.#clock = clock
    this.#latency = latency
    this.#random = random
    this.#handlers = handlers
  }

  refuse(error: Error): void {
    if (!this.#isOpen.client) return
    this.#ended('client')
    this.#handlers.closed(error)
  }

  accept(accept: Accept): void {
    if (!this.#isOpen.client) return
    this.#isOpen.server = true
    const isOpen = (): boolean => this.#isOpen.server
    this.#server = accept({
      get isOpen() {
        return isOpen()
      },
      send: (bytes) => this.#transmit('client', bytes),
      close: () => this.#close('server'),
    })
    this.#handlers.connected()
  }

  #transmit(to: End, bytes: Buffer): void {
    const cut = bytes.length > 1 && this.#random.chance(0.1) ? 1 + this.#random.below(bytes.length - 1) : bytes.length
    for (const part of [bytes.subarray(0, cut), bytes.subarray(cut)]) {
      if (part.length > 0) this.#arrive(to, () => this.#deliver(to, part))
    }
  }

  #deliver(to: End, bytes: Buffer): void {
    if (to === 'client') this.#handlers.received(bytes)
    else this.#server?.received(bytes)
  }

  #close(end: End): void {
    if (!this.#isOpen[end]) return
    this.#ended(end)
    const other = end === 'client' ? 'server' : 'client'
    this.#arrive(other, () => {
      this.#ended(other)
      if (other === 'client') this.#handlers.closed(undefined)
      else this.#server?.closed()
    })
  }

  #ended(end: End): void {
    this.#isOpen[end] = false
    if (!this.#isOpen.client && !this.#isOpen.server) this.onEnd()
  }

  /** In the order of the calls, if that end is still open then. */
  #arrive(to: End, run: () => void): void {
    const at = Math.max(this.#arrivesAt[to], this.#clock.now() + this.#latency())
    this.#arrivesAt[to] = at
    this.#clock.setTimer(() => {
      if (this.#isOpen[to]) run()
    }, at - this.#clock.now())
  }
}
