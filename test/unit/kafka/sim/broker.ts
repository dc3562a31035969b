import { FrameSplitter } from '../../../../src/kafka/network/frame-splitter.ts'
import type { ApiName } from '../../../../src/kafka/protocol/generated/api-types.ts'
import type { SimClock } from './clock.ts'
import { errorAnswer } from './error-answers.ts'
import type { ServerHandlers, ServerSocket, SimNetwork } from './network.ts'
import type { Fault, Script } from './script.ts'
import { readRequestFrame, writeResponseFrame } from './wire.ts'
import type { Answer, Asked, RequestFrame } from './wire.ts'

/** What a handler knows beside the request. */
export interface Call {
  readonly broker: SimBroker
  readonly version: number
  readonly clientId: string | null
  readonly client: ClientConnection
}

/** Undefined: the client wants no answer. */
export type Handler<N extends ApiName> = (
  request: Asked<N>,
  call: Call,
) => Answer<N> | undefined | Promise<Answer<N> | undefined>

export type Handlers = { readonly [N in ApiName]?: Handler<N> }

export interface SeenRequest {
  readonly at: number
  readonly broker: number
  readonly api: ApiName
  readonly version: number
  readonly clientId: string | null
  readonly body: object
}

export interface SimBrokerOptions {
  readonly id: number
  readonly rack: string | null
  readonly clock: SimClock
  readonly network: SimNetwork
  readonly script: Script
  readonly handlers: () => Handlers
  /** Whether a client may ask this now; false ends its connection. */
  readonly mayAsk: (client: ClientConnection, api: ApiName) => boolean
  readonly onRequest: (request: SeenRequest) => void
}

/** A broker's sockets, and how it takes requests: those of one connection one after the other, as Kafka does. */
export class SimBroker {
  readonly id: number
  readonly rack: string | null
  readonly options: SimBrokerOptions
  readonly #clients = new Set<ClientConnection>()
  #host = ''
  #port = 0
  #stopListening: (() => void) | undefined
  #thaw: PromiseWithResolvers<void> | undefined

  constructor(options: SimBrokerOptions) {
    this.options = options
    this.id = options.id
    this.rack = options.rack
  }

  get host(): string {
    return this.#host
  }

  get port(): number {
    return this.#port
  }

  get isUp(): boolean {
    return this.#stopListening !== undefined
  }

  get isFrozen(): boolean {
    return this.#thaw !== undefined
  }

  get clients(): number {
    return this.#clients.size
  }

  start(host: string, port: number): void {
    this.#host = host
    this.#port = port
    this.#stopListening = this.options.network.listen(host, port, (socket) => this.#accept(socket))
  }

  /** The process is gone: connections end, new ones are refused. */
  stop(): void {
    this.#stopListening?.()
    this.#stopListening = undefined
    this.thaw()
    for (const client of this.#clients) client.close()
    this.#clients.clear()
  }

  /** Connections stay and can be made; nothing is carried out or answered until `thaw`. */
  freeze(): void {
    this.#thaw ??= Promise.withResolvers<void>()
  }

  thaw(): void {
    this.#thaw?.resolve()
    this.#thaw = undefined
  }

  async untilThawed(): Promise<void> {
    while (this.#thaw !== undefined) await this.#thaw.promise
  }

  #accept(socket: ServerSocket): ServerHandlers {
    const client = new ClientConnection(this, socket)
    this.#clients.add(client)
    return {
      received: (chunk) => client.received(chunk),
      closed: () => this.#clients.delete(client),
    }
  }
}

/** The connection of a client, as its broker has it. */
export class ClientConnection {
  readonly broker: SimBroker
  readonly #socket: ServerSocket
  readonly #splitter = new FrameSplitter(100 * 1024 * 1024)
  readonly #frames: RequestFrame[] = []
  #isBusy = false
  /** Nothing more is answered here: a request was dropped, and answers keep the order of requests. */
  #isHung = false
  /** When its authentication ends; undefined: it has not authenticated. */
  authenticatedUntil: number | undefined

  constructor(broker: SimBroker, socket: ServerSocket) {
    this.broker = broker
    this.#socket = socket
  }

  get isOpen(): boolean {
    return this.#socket.isOpen
  }

  close(): void {
    this.#socket.close()
  }

  received(chunk: Buffer): void {
    this.#splitter.push(chunk, (frame) => this.#frames.push(readRequestFrame(frame)))
    if (!this.#isBusy) void this.#work()
  }

  async #work(): Promise<void> {
    this.#isBusy = true
    for (;;) {
      await this.broker.untilThawed()
      const request = this.#frames.shift()
      if (request === undefined || this.#isHung || !this.isOpen) break
      await this.#serve(request)
    }
    this.#isBusy = false
  }

  async #serve(request: RequestFrame): Promise<void> {
    const { broker } = this
    const { clock, script, mayAsk, onRequest } = broker.options
    const { name, version, clientId, body } = request
    if (!mayAsk(this, name)) return this.close()
    onRequest({ at: clock.now(), broker: broker.id, api: name, version, clientId, body })
    const fault = script.next(name, broker.id)
    if (fault !== undefined && (await this.#isStopped(fault))) return
    const answer = fault?.do === 'error' ? errorAnswer(name, body, fault.code) : await this.#handle(request)
    if (fault?.do === 'run') fault.run()
    await broker.untilThawed()
    if (answer === undefined || this.#isHung || !this.isOpen) return
    await this.#answer(request, answer, fault)
  }

  /** What a fault does before a request is carried out; true: it isn't. */
  async #isStopped(fault: Fault): Promise<boolean> {
    const { broker } = this
    const { clock } = broker.options
    if (fault.do === 'drop') this.#isHung = true
    else if (fault.do === 'close') this.close()
    else if (fault.do === 'delay') await clock.wait(fault.ms)
    else if (fault.do === 'freeze') {
      broker.freeze()
      clock.setTimer(() => broker.thaw(), fault.ms)
      await broker.untilThawed()
    }
    return this.#isHung || !this.isOpen
  }

  async #handle({ name, version, clientId, body }: RequestFrame): Promise<object | undefined> {
    const handler = this.broker.options.handlers()[name] as Handler<ApiName> | undefined
    if (handler === undefined) throw new Error(`the simulated broker has no ${name}`)
    return handler(body as never, { broker: this.broker, version, clientId, client: this })
  }

  async #answer(request: RequestFrame, usual: object, fault: Fault | undefined): Promise<void> {
    const { clock } = this.broker.options
    if (fault?.do === 'dropAnswer') this.#isHung = true
    if (fault?.do === 'closeAfter') this.close()
    if (this.#isHung || !this.isOpen) return
    if (fault?.do === 'delayAnswer') await clock.wait(fault.ms)
    const answer = fault?.do === 'errorAfter' ? errorAnswer(request.name, request.body, fault.code) : usual
    const throttleTimeMs = fault?.do === 'throttle' ? fault.ms : 0
    const isRefused =
      request.name === 'ApiVersions' && 'errorCode' in answer && answer.errorCode === UNSUPPORTED_VERSION
    const bytes = writeResponseFrame(request, { ...answer, throttleTimeMs }, isRefused ? 0 : request.version)
    if (fault?.do === 'bytes') this.#socket.send(fault.bytes(bytes))
    else if (fault?.do === 'split') for (const byte of bytes) this.#socket.send(Buffer.from([byte]))
    else this.#socket.send(bytes)
    if (throttleTimeMs > 0) await clock.wait(throttleTimeMs)
  }
}

const UNSUPPORTED_VERSION = 35
