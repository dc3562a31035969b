import { Reader } from '../../../src/kafka/bytes/reader.ts'
import { Writer } from '../../../src/kafka/bytes/writer.ts'
import type { Clock } from '../../../src/kafka/network/clock.ts'
import { Connection } from '../../../src/kafka/network/connection.ts'
import type { ConnectionOptions } from '../../../src/kafka/network/connection.ts'
import { FrameSplitter } from '../../../src/kafka/network/frame-splitter.ts'
import type { SocketHandlers } from '../../../src/kafka/network/sockets.ts'
import { allApis, apiOf } from '../../../src/kafka/protocol/apis.ts'
import type { ApiName } from '../../../src/kafka/protocol/generated/api-types.ts'
import { readMessage } from '../../../src/kafka/protocol/read-message.ts'
import type { Message } from '../../../src/kafka/protocol/read-message.ts'
import { writeMessage } from '../../../src/kafka/protocol/write-message.ts'

/** Time that a test moves. */
export class TestClock implements Clock {
  #now = 1_000
  #timers: { at: number; run: () => void }[] = []

  /** Timers that have run. */
  fired = 0

  get timers(): number {
    return this.#timers.length
  }

  now(): number {
    return this.#now
  }

  setTimer(run: () => void, delayMs: number): () => void {
    const timer = { at: this.#now + delayMs, run }
    this.#timers.push(timer)
    return () => (this.#timers = this.#timers.filter((other) => other !== timer))
  }

  advance(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.#timers = this.#timers.filter((other) => other !== next)
      this.#now = Math.max(this.#now, next.at)
      this.fired++
      next.run()
    }
    this.#now = end
  }
}

export interface Asked {
  readonly name: ApiName
  readonly version: number
  readonly correlationId: number
  readonly clientId: string | null
  readonly body: Message
}

/** The broker's end of one connection: reads requests, and answers as the test says. */
export class FakeBroker {
  /** Requests that have not been taken by `next`. */
  readonly asked: Asked[] = []
  readonly answered: Asked[] = []
  isDestroyed = false
  /** The operating system takes no more bytes. */
  isStalled = false
  /** The newest versions it has; what is not named has all. */
  maxVersions: Partial<Record<ApiName, number>> = {}
  readonly #splitter = new FrameSplitter(10_000_000)
  readonly #stalled: (() => void)[] = []
  #handlers: SocketHandlers | undefined
  #arrived: (() => void) | undefined

  connection(clock: Clock, options: Partial<ConnectionOptions> = {}): Connection {
    return new Connection({
      address: { host: 'h', port: 1 },
      sasl: undefined,
      clock,
      openSocket: (_, handlers) => {
        this.#handlers = handlers
        return {
          write: (chunks, written) => {
            for (const chunk of chunks) this.read(chunk)
            if (written === undefined) return
            if (this.isStalled) this.#stalled.push(written)
            else written()
          },
          destroy: () => (this.isDestroyed = true),
        }
      },
      ...options,
      settings: {
        name: 'broker 1',
        clientId: 'me',
        softwareName: 'test',
        softwareVersion: '1',
        requestTimeoutMs: 1_000,
        connectTimeoutMs: 500,
        maxInFlight: 3,
        maxFrameBytes: 10_000,
        ...options.settings,
      },
    })
  }

  drain(): void {
    this.isStalled = false
    for (const written of this.#stalled.splice(0)) written()
  }

  connect(): void {
    this.#handlers?.connected()
  }

  cut(error?: Error): void {
    this.#handlers?.closed(error)
  }

  send(bytes: Buffer): void {
    this.#handlers?.received(bytes)
  }

  /** Bytes of a client. */
  read(chunk: Buffer): void {
    this.#splitter.push(chunk, (frame) => this.asked.push(read(frame)))
    if (this.asked.length > 0) this.#arrived?.()
  }

  /** Resolves when there is a request to take. */
  async arrived(): Promise<void> {
    if (this.asked.length > 0) return
    await new Promise<void>((resolve) => {
      this.#arrived = resolve
    })
  }

  /** The bytes of an answer without content, to any request; ApiVersions has all versions. */
  answerTo(request: Asked): Buffer {
    this.answered.push(request)
    const body = request.name === 'ApiVersions' ? { apiKeys: this.#apiKeys() } : {}
    return response(request, body, request.version)
  }

  next(name: ApiName): Asked {
    const request = this.asked.shift()
    if (request?.name !== name) throw new Error(`${name} expected, not ${request?.name}`)
    return request
  }

  answer(request: Asked, body: Message, version: number = request.version): void {
    this.send(response(request, body, version))
  }

  /** Connects, and answers ApiVersions. */
  negotiate(): void {
    this.connect()
    this.answerApiVersions()
  }

  answerApiVersions(): void {
    this.answer(this.next('ApiVersions'), { errorCode: 0, apiKeys: this.#apiKeys() })
  }

  #apiKeys() {
    return [...allApis()].map(([name, api]) => {
      const { key, versions } = api.description
      return { apiKey: key, minVersion: versions.first, maxVersion: this.maxVersions[name] ?? versions.last }
    })
  }
}

export function response({ name, correlationId }: Asked, body: Message, version: number): Buffer {
  const writer = new Writer()
  writer.i32(0)
  writer.i32(correlationId)
  if (name !== 'ApiVersions' && apiOf(name).isFlexible(version)) writer.uvarint(0)
  writeMessage(apiOf(name).response(version), body, writer, name)
  const bytes = writer.toBuffer()
  bytes.writeInt32BE(bytes.length - 4)
  return bytes
}

function read(frame: Buffer): Asked {
  const reader = new Reader(frame)
  const key = reader.i16()
  const version = reader.i16()
  const correlationId = reader.i32()
  const clientId = reader.strOrNull(false)
  const [name, api] = [...allApis()].find(([, each]) => each.description.key === key) ?? []
  if (name === undefined || api === undefined) throw new Error(`api ${key}`)
  if (api.isFlexible(version)) reader.skipTags()
  return { name, version, correlationId, clientId, body: readMessage(api.request(version), reader) }
}
