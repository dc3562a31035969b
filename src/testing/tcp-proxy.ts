import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { ConnectionError } from '../core/errors.ts'
import { proxyLink } from './proxy-link.ts'
import type { LinkFaults, ProxyLink } from './proxy-link.ts'
import { seededRandom } from './random.ts'
import { waitUntil } from './wait-until.ts'

/** Where a proxy connects to. */
export interface ProxyTarget {
  readonly port: number
  /** Default 127.0.0.1. */
  readonly host?: string | undefined
}

/** Options of `tcpProxy`. */
export interface TcpProxyOptions {
  /** Default 127.0.0.1. */
  readonly host?: string | undefined
  /** Default: any free port. */
  readonly port?: number | undefined
  /** Seed for the jitter. Default 1. */
  readonly seed?: number | string | undefined
}

/**
 * A TCP proxy that misbehaves on demand. Put it between a client and a broker. Its faults apply to all connections:
 * `cut`, `reset` and `halfOpen` to those that are open, the rest to new ones as well, until `resume()`.
 */
export interface TcpProxy extends LinkFaults, AsyncDisposable {
  readonly host: string
  readonly port: number
  /** Open connections, oldest first. */
  readonly links: readonly ProxyLink[]
  readonly accepted: number
  readonly refused: number
  /** Number of bytes of all connections, closed ones included. */
  readonly bytesUp: number
  readonly bytesDown: number
  /** Resets new connections as soon as they arrive. */
  refuse(): void
  /** Accepts new connections again. */
  accept(): void
  /** Sends new connections to another target, such as a broker that came back on another port. */
  retarget(target: ProxyTarget): void
  /** Resolves when `count` connections are open. */
  waitForLinks(count: number, options?: { readonly timeoutMs?: number }): Promise<void>
  /** Closes all connections and frees the port. */
  close(): Promise<void>
}

/** Starts a proxy in front of `target`. Resolves when it is listening. */
export async function tcpProxy(target: ProxyTarget, options: TcpProxyOptions = {}): Promise<TcpProxy> {
  const random = seededRandom(options.seed ?? 1)
  const links = new Set<ProxyLink>()
  /** Faults that also apply to new connections, in the order of the calls. */
  let standing: ((link: ProxyLink) => void)[] = []
  let goal = target
  let refusing = false
  let closed = false
  const totals = { accepted: 0, refused: 0, bytesUp: 0, bytesDown: 0 }

  const onClient = (client: Socket): void => {
    if (refusing || closed) {
      totals.refused++
      client.on('error', () => undefined)
      client.resetAndDestroy()
      return
    }
    client.setNoDelay(true)
    const upstream = connect({ port: goal.port, host: goal.host ?? '127.0.0.1', noDelay: true, allowHalfOpen: true })
    const link: ProxyLink = proxyLink(++totals.accepted, { client, target: upstream }, random, () => {
      links.delete(link)
      totals.bytesUp += link.bytesUp
      totals.bytesDown += link.bytesDown
    })
    links.add(link)
    for (const fault of standing) fault(link)
  }

  const server = createServer({ allowHalfOpen: true }, onClient)
  const host = options.host ?? '127.0.0.1'
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(new ConnectionError(`The proxy can't listen on ${host}:${options.port ?? 0}`, { cause: error })),
    )
    server.listen(options.port ?? 0, host, resolve)
  })
  const { port } = server.address() as AddressInfo

  const forAll = (fault: (link: ProxyLink) => void): void => {
    for (const link of links) fault(link)
  }
  const forGood = (fault: (link: ProxyLink) => void): void => {
    standing.push(fault)
    forAll(fault)
  }
  const sum = (of: (link: ProxyLink) => number): number => [...links].reduce((total, link) => total + of(link), 0)

  const close = async (): Promise<void> => {
    if (closed) return
    closed = true
    forAll((link) => link.cut())
    await new Promise<void>((resolve) => {
      server.close(() => resolve())
    })
  }

  return {
    host,
    port,
    get links() {
      return [...links]
    },
    get accepted() {
      return totals.accepted
    },
    get refused() {
      return totals.refused
    },
    get bytesUp() {
      return totals.bytesUp + sum((link) => link.bytesUp)
    },
    get bytesDown() {
      return totals.bytesDown + sum((link) => link.bytesDown)
    },
    refuse() {
      refusing = true
    },
    accept() {
      refusing = false
    },
    retarget(next) {
      goal = next
    },
    cut: () => forAll((link) => link.cut()),
    reset: () => forAll((link) => link.reset()),
    halfOpen: (side) => forAll((link) => link.halfOpen(side)),
    blackhole: (direction) => forGood((link) => link.blackhole(direction)),
    stall: (direction) => forGood((link) => link.stall(direction)),
    slow: (shape, direction) => forGood((link) => link.slow(shape, direction)),
    resume() {
      standing = []
      refusing = false
      forAll((link) => link.resume())
    },
    async waitForLinks(count, wait = {}) {
      await waitUntil(() => links.size >= count, {
        timeoutMs: wait.timeoutMs,
        describe: () => `${links.size} of ${count} connections are open`,
      })
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}
