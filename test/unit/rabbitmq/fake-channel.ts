import { EventEmitter } from 'node:events'
import type { ConfirmChannel, ConsumeMessage, Options } from 'amqplib'
import type { LiveConnection } from '../../../src/transports/rabbitmq/connection/live-connection.ts'

type Confirm = (error: Error | null) => void

/** A confirm channel whose broker is the test: it sees what is published, and answers when the test says so. */
export class FakeChannel extends EventEmitter {
  /** Bodies of what was published, in order. */
  readonly published: string[] = []
  readonly #unconfirmed: (Confirm | undefined)[] = []
  #tag = 0
  isOpen = true
  /** The broker answers nothing more on it. */
  isStuck = false

  publish(_exchange: string, _key: string, content: Buffer, _options: object, confirm?: Confirm): boolean {
    this.published.push(content.toString())
    this.#unconfirmed.push(confirm)
    return true
  }

  /** Answers the oldest message that is not answered. */
  answer(isAck: boolean): void {
    this.#unconfirmed.shift()?.(isAck ? null : new Error('message nacked'))
    this.emit(isAck ? 'ack' : 'nack', { deliveryTag: ++this.#tag, multiple: false })
  }

  /** As the client library does it: whatever is open fails. */
  async close(): Promise<void> {
    if (!this.isOpen) throw new Error('Channel closed')
    this.isOpen = false
    if (this.isStuck) return new Promise(() => undefined)
    for (const confirm of this.#unconfirmed.splice(0)) confirm?.(new Error('channel closed'))
    this.emit('close')
  }

  /** As the client library does it: fails with the first refusal. */
  async waitForConfirms(): Promise<void> {
    await Promise.all(
      this.#unconfirmed.map(
        (confirm, index) =>
          new Promise<void>((resolve, reject) => {
            this.#unconfirmed[index] = (error) => {
              confirm?.(error)
              if (error === null) resolve()
              else reject(error)
            }
          }),
      ),
    )
  }

  prefetch(): Promise<object> {
    return this.isStuck ? new Promise(() => undefined) : Promise.resolve({})
  }
}

/** What there is at the broker, and what it refuses to do. */
interface FakeBroker {
  readonly missing: Set<string>
  readonly failing: Set<string>
  /** By operation, the error that ends the channel. */
  readonly refusing: Map<string, Error>
  /** Arguments of the queues. */
  readonly queues: Map<string, Readonly<Record<string, unknown>>>
  /** By queue, what takes its messages. */
  readonly consumers: Map<string, (message: ConsumeMessage) => void>
  /** Source, key and target of each binding that was made. */
  readonly bindings: string[]
}

function declaring(
  channel: FakeChannel,
  { missing, failing, refusing, queues, consumers, bindings }: FakeBroker,
): FakeChannel {
  const refuse = (error: Error): never => {
    channel.emit('close', error)
    // As the client library does it with all operations but one.
    throw new Error('Channel ended, no reply will be forthcoming')
  }
  const operation = (name: string) => async (): Promise<void> => {
    if (failing.has(name)) throw new Error('the connection ended')
    const refusal = refusing.get(name)
    if (refusal !== undefined) refuse(refusal)
  }
  const names = ['assertExchange', 'checkExchange']
  const bind = (name: string) => async (target: string, source: string, key: string) => {
    await operation(name)()
    bindings.push(`${source} ${key} ${target}`)
  }
  return Object.assign(channel, {
    ...Object.fromEntries(names.map((name) => [name, operation(name)])),
    bindExchange: bind('bindExchange'),
    bindQueue: bind('bindQueue'),
    async assertQueue(queue: string, { arguments: wanted = {} }: Options.AssertQueue): Promise<void> {
      await operation('assertQueue')()
      const found = queues.get(queue) ?? (wanted as Readonly<Record<string, unknown>>)
      queues.set(queue, found)
      for (const name in { ...found, ...wanted })
        if (found[name] !== (wanted as Readonly<Record<string, unknown>>)[name])
          refuse(Object.assign(new Error(`inequivalent arg '${name}' for queue '${queue}'`), { code: 406 }))
    },
    async consume(queue: string, onMessage: (message: ConsumeMessage) => void): Promise<{ consumerTag: string }> {
      consumers.set(queue, onMessage)
      return { consumerTag: queue }
    },
    async cancel(): Promise<void> {},
    async checkQueue(queue: string): Promise<{ readonly messageCount: number; readonly consumerCount: number }> {
      await operation('checkQueue')()
      if (missing.has(queue)) throw Object.assign(new Error('NOT_FOUND'), { code: 404 })
      return { messageCount: 0, consumerCount: 0 }
    },
    ack: () => undefined,
    nack: () => undefined,
  })
}

/** A connection on which each channel is a new fake; they are kept in the order of their opening. */
export function fakeSession(): FakeBroker & { readonly live: LiveConnection; readonly channels: FakeChannel[] } {
  const channels: FakeChannel[] = []
  const broker: FakeBroker = {
    missing: new Set(),
    failing: new Set(),
    refusing: new Map(),
    queues: new Map(),
    consumers: new Map(),
    bindings: [],
  }
  const open = async (onClosed?: (error: Error | undefined) => void): Promise<ConfirmChannel> => {
    const channel = declaring(new FakeChannel(), broker)
    channels.push(channel)
    channel.on('close', (error?: Error) => onClosed?.(error))
    return channel as unknown as ConfirmChannel
  }
  const live: LiveConnection = {
    epoch: 1,
    attempt: 0,
    model: undefined as never,
    server: undefined,
    isOpen: true,
    channel: open,
    confirmChannel: open,
  }
  return { live, channels, ...broker }
}
