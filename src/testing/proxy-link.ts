import type { Socket } from 'node:net'
import { ProxyFlow } from './proxy-flow.ts'
import type { FlowMode, LinkShape } from './proxy-flow.ts'
import type { Random } from './random.ts'

/** `up`: from client to target. `down`: from target to client. */
export type Direction = 'up' | 'down' | 'both'

/** Faults of connections. On a proxy they apply to all connections, on a link to that one. */
export interface LinkFaults {
  /** Closes both sides. */
  cut(): void
  /** Closes both sides with a TCP reset: `ECONNRESET` at either end. */
  reset(): void
  /** Closes the other side; the named side keeps a socket that looks open and never answers. Default `client`. */
  halfOpen(side?: 'client' | 'target'): void
  /** Takes what is sent and drops it, ends included, like a firewall that lost its state. Damages the stream. */
  blackhole(direction?: Direction): void
  /** Holds what is sent until `resume()`, like a frozen peer or a full queue. Nothing is lost. */
  stall(direction?: Direction): void
  /** Delays bytes, with jitter, or limits their rate. */
  slow(shape: LinkShape, direction?: Direction): void
  /** Ends all of the above. Connections that lost bytes can't continue and are reset. */
  resume(): void
}

/** One connection through the proxy. */
export interface ProxyLink extends LinkFaults {
  /** 1 for the first connection that the proxy accepted. */
  readonly id: number
  readonly open: boolean
  /** Number of bytes received from the client. */
  readonly bytesUp: number
  /** Number of bytes received from the target. */
  readonly bytesDown: number
}

export interface LinkSockets {
  readonly client: Socket
  readonly target: Socket
}

export function proxyLink(id: number, sockets: LinkSockets, random: Random, onClose: () => void): ProxyLink {
  const { client, target } = sockets
  const up = new ProxyFlow(client, target, random)
  const down = new ProxyFlow(target, client, random)
  let open = true
  /** The socket that stays open although its other half is closed. */
  let hanging: Socket | undefined

  const end = (destroy: (socket: Socket) => void): void => {
    if (!open) return
    open = false
    up.stop()
    down.stop()
    destroy(client)
    destroy(target)
    onClose()
  }
  const cut = (): void => end((socket) => socket.destroy())
  const reset = (): void => end((socket) => (socket.connecting ? socket.destroy() : socket.resetAndDestroy()))
  const flows = (direction: Direction): readonly ProxyFlow[] =>
    direction === 'both' ? [up, down] : [direction === 'up' ? up : down]
  const setMode = (direction: Direction, mode: FlowMode): void => {
    for (const flow of flows(direction)) flow.mode = mode
  }

  for (const [socket, from, to] of [
    [client, up, down],
    [target, down, up],
  ] as const) {
    // An error or a close is passed on only where bytes would be.
    socket.on('error', () => undefined)
    socket.on('close', (hadError: boolean) => {
      if (hanging !== undefined && hanging !== socket) return
      const dark = from.mode !== 'forward' || to.mode !== 'forward'
      if (hanging === undefined && dark) {
        from.damaged = true
        return
      }
      if (hadError) reset()
      // Without an error the end was already passed on after the bytes; the link is done when both sides are.
      else if (client.destroyed && target.destroyed) cut()
    })
  }

  return {
    id,
    get open() {
      return open
    },
    get bytesUp() {
      return up.bytes
    },
    get bytesDown() {
      return down.bytes
    },
    cut,
    reset,
    halfOpen(side = 'client') {
      if (!open) return
      hanging = side === 'client' ? client : target
      up.damaged = true
      down.damaged = true
      setMode('both', 'swallow')
      ;(side === 'client' ? target : client).destroy()
    },
    blackhole(direction = 'both') {
      setMode(direction, 'swallow')
    },
    stall(direction = 'both') {
      setMode(direction, 'stall')
    },
    slow(shape, direction = 'both') {
      for (const flow of flows(direction)) flow.shape = shape
    },
    resume() {
      if (up.damaged || down.damaged) {
        reset()
        return
      }
      for (const flow of [up, down]) flow.shape = {}
      setMode('both', 'forward')
    },
  }
}
