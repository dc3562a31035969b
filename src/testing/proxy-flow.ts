import type { Socket } from 'node:net'
import type { Random } from './random.ts'

/** How bytes are slowed down. Zero and undefined mean not at all. */
export interface LinkShape {
  /** Delay of each chunk, in ms. Order is kept. */
  readonly delayMs?: number | undefined
  /** Maximum random delay in addition, in ms. */
  readonly jitterMs?: number | undefined
  /** Maximum number of bytes per second. */
  readonly bytesPerSecond?: number | undefined
}

/** `forward`: works normally. `stall`: holds the bytes until later. `swallow`: takes the bytes and drops them. */
export type FlowMode = 'forward' | 'stall' | 'swallow'

interface Chunk {
  readonly bytes: Buffer
  readonly dueAt: number
}

// Beyond this the source is no longer read, so a stalled link pushes back on its sender like a real one.
const MAX_QUEUED_BYTES = 1_048_576
const DRIP_TICK_MS = 20

/** One direction of a proxied connection: from a socket that is read to a socket that is written. */
export class ProxyFlow {
  bytes = 0
  /** Bytes of the stream are missing: the connection can't be used again. */
  damaged = false
  readonly #source: Socket
  readonly #sink: Socket
  readonly #random: Random
  #mode: FlowMode = 'forward'
  #shape: LinkShape = {}
  #queue: Chunk[] = []
  #queuedBytes = 0
  #lastDueAt = 0
  #timer: NodeJS.Timeout | undefined
  #blocked = false
  #ended = false

  constructor(source: Socket, sink: Socket, random: Random) {
    this.#source = source
    this.#sink = sink
    this.#random = random
    source.on('data', (bytes: Buffer) => this.#take(bytes))
    source.on('end', () => {
      this.#ended = true
      this.#pump()
    })
    sink.on('drain', () => {
      this.#blocked = false
      this.#pump()
    })
  }

  get mode(): FlowMode {
    return this.#mode
  }

  set mode(mode: FlowMode) {
    this.#mode = mode
    this.#pump()
  }

  set shape(shape: LinkShape) {
    this.#shape = shape
    this.#pump()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#queue = []
    this.#queuedBytes = 0
  }

  #take(bytes: Buffer): void {
    this.bytes += bytes.byteLength
    if (this.#mode === 'swallow') {
      this.damaged = true
      return
    }
    const { delayMs = 0, jitterMs = 0 } = this.#shape
    const jitter = jitterMs > 0 ? this.#random.next() * jitterMs : 0
    this.#lastDueAt = Math.max(this.#lastDueAt, performance.now() + delayMs + jitter)
    this.#queue.push({ bytes, dueAt: this.#lastDueAt })
    this.#queuedBytes += bytes.byteLength
    if (this.#queuedBytes > MAX_QUEUED_BYTES) this.#source.pause()
    this.#pump()
  }

  #pump(): void {
    if (this.#timer !== undefined || this.#blocked || this.#mode !== 'forward') return
    for (;;) {
      const head = this.#queue[0]
      if (head === undefined) break
      const waitMs = head.dueAt - performance.now()
      if (waitMs > 0) {
        this.#wake(waitMs)
        return
      }
      if (!this.#write(head)) return
    }
    // The end of a stream follows its bytes, and is dropped if they are.
    if (this.#ended && !this.damaged && this.#sink.writable) this.#sink.end()
  }

  /** Writes the head of the queue, or as much as the rate allows. False when the pump has to wait. */
  #write(head: Chunk): boolean {
    const { bytesPerSecond = 0 } = this.#shape
    const most = bytesPerSecond > 0 ? Math.max(1, Math.floor((bytesPerSecond * DRIP_TICK_MS) / 1000)) : Infinity
    const now = head.bytes.byteLength <= most ? head.bytes : head.bytes.subarray(0, most)
    if (now === head.bytes) this.#queue.shift()
    else this.#queue[0] = { bytes: head.bytes.subarray(most), dueAt: head.dueAt }
    this.#queuedBytes -= now.byteLength
    if (this.#queuedBytes <= MAX_QUEUED_BYTES && this.#source.isPaused()) this.#source.resume()
    if (this.#sink.writable && !this.#sink.write(now)) {
      this.#blocked = true
      return false
    }
    if (bytesPerSecond > 0) {
      this.#wake(DRIP_TICK_MS)
      return false
    }
    return true
  }

  #wake(delayMs: number): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#pump()
    }, delayMs)
  }
}
