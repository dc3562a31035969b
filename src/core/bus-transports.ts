import type { Clock } from './clock.ts'
import type { BusEvents } from './events.ts'
import type { Logger } from './logger.ts'
import type { Observers } from './observers.ts'
import { noTransport } from './publish/publish-port.ts'
import type { Transport, TransportHost, TransportIdentity } from './transport.ts'
import { allOrFirstError } from './util/all-or-first-error.ts'
import { connectWithRetry } from './util/connect-retry.ts'

export interface BusTransportsParts {
  readonly transports: ReadonlyMap<string, Transport>
  readonly service: string
  readonly instanceId: string
  readonly clock: Clock
  readonly events: BusEvents
  readonly logger: Logger
  readonly observers: Observers
  readonly identityOf: (name: string) => TransportIdentity
  /** Aborts when the bus starts to close: nothing is retried after that. */
  readonly closing: AbortSignal
}

/** The transports of a bus: by name, opened together and closed together. */
export class BusTransports {
  /** The first one: what is used when no name is given. */
  readonly defaultName: string
  readonly #parts: BusTransportsParts
  readonly #opened = new Set<string>()

  constructor(parts: BusTransportsParts) {
    this.#parts = parts
    this.defaultName = parts.transports.keys().next().value as string
  }

  get(name: string = this.defaultName): Transport {
    const { transports } = this.#parts
    const transport = transports.get(name)
    if (transport === undefined) throw noTransport(name, transports.keys())
    return transport
  }

  /** Opens those that are not open yet, and retries what may pass until `endsAt` (`clock.monotonic()`). */
  async open(endsAt: number): Promise<void> {
    const { transports, service, instanceId, clock, events, logger, closing } = this.#parts
    const failed = new AbortController()
    const signal = AbortSignal.any([closing, failed.signal])
    const open = async (name: string, transport: Transport): Promise<void> => {
      const host = { service, instanceId, clock, events, logger, name }
      try {
        await connectWithRetry(
          (attempt) => this.#connect(transport, host, attempt),
          { clock, endsAt, signal },
          (wait) => events.emit('connecting', { transport: name, ...wait }),
        )
        this.#opened.add(name)
      } catch (error) {
        // The others need not wait for a broker when the start has failed.
        failed.abort(error)
        throw error
      }
    }
    const closed = [...transports].filter(([name]) => !this.#opened.has(name))
    await allOrFirstError(closed.map(([name, transport]) => open(name, transport)))
  }

  async #connect(transport: Transport, host: TransportHost, attempt: number): Promise<void> {
    const { clock, observers, identityOf } = this.#parts
    const startedAt = clock.monotonic()
    const observation = observers.watched.connect
      ? observers.start('connect', { transport: identityOf(host.name), attempt })
      : undefined
    const ended = (error: unknown): void => {
      if (observation !== undefined) observers.end(observation, { durationMs: clock.monotonic() - startedAt, error })
    }
    try {
      await transport.open(host)
    } catch (error) {
      ended(error)
      throw error
    }
    ended(undefined)
  }

  /** Closes all of them, opened or not; the results are in their order. */
  close(deadlineMs: number): Promise<readonly PromiseSettledResult<void>[]> {
    return Promise.allSettled([...this.#parts.transports.values()].map((transport) => transport.close({ deadlineMs })))
  }
}
