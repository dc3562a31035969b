import type { Socket } from 'node:net'
import { ProxyFlow } from './proxy-flow.ts'
import type { FlowMode, LinkShape } from './proxy-flow.ts'
import type { Random } from './random.ts'

/** `up`: from the client to the target. `down`: the way back. */
export type Direction = 'up' | 'down' | 'both'

/** What can go wrong with connections. On a proxy it holds for all of them, on a link for that one. */
export interface LinkFaults {
  /** Closes both sides. */
  cut(): void
  /** Closes both sides with a TCP reset: `ECONNRESET` at either end. */
  reset(): void
  /** The side that is not named closes; the named one keeps a socket that looks alive and never answers. Default `client`. */
  halfOpen(side?: 'client' | 'target'): void
  /** What is sent is taken and never arrives, ends included: a firewall that lost its state. Damages the stream. */
  blackhole(direction?: Direction): void
  /** What is sent is held until `resume()`; nothing is lost. A frozen peer or a queue that is full. */
  stall(direction?: Direction): void
  /** Later, unevenly, or a drip at a time. */
  slow(shape: LinkShape, direction?: Direction): void
  /** Ends all of the above. Connections that lost bytes can't go on: they are reset. */
  resume(): void
}

/** One connection through the proxy. */
export interface ProxyLink extends LinkFaults {
  /** 1 for the first connection that the proxy accepted. */
  readonly id: number
  readonly open: boolean
  /** Bytes taken from the client. */
  readonly bytesUp: number
  /** Bytes taken from the target. */
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
  /** The socket that stays although its other half is gone. */
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
    // The news of an error or a close travels on only where bytes would.
    socket.on('error', () => undefined)
    socket.on('close', (hadError: boolean) => {
      if (hanging !== undefined && hanging !== socket) return
      const dark = from.mode !== 'forward' || to.mode !== 'forward'
      if (hanging === undefined && dark) {
        from.damaged = true
        return
      }
      if (hadError) reset()
      // Without an error the end already travelled behind the bytes; the link is done when both sides are.
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
