import { headers as makeHeaders } from '@nats-io/transport-node'
import type { Msg } from '@nats-io/transport-node'
import { NoRespondersError, RemoteError } from '../../../core/errors.ts'
import { isNoResponders, toBusbarError } from '../errors.ts'
import type { Session } from './session.ts'
import type { Subjects } from '../wire/subjects.ts'

const DEFAULT_TIMEOUT_MS = 5_000
/** Set on a reply that carries an error. */
const FAILED = 'busbar-error'

/** Options of one request. */
export interface NatsRequestOptions {
  /** How long to wait for the reply, in ms. Default 5,000. */
  readonly timeoutMs?: number | undefined
  /** Headers of the request. */
  readonly headers?: Readonly<Record<string, string>> | undefined
}

/** The answer to a request. */
export interface NatsReply {
  readonly body: Uint8Array
  readonly headers: Readonly<Record<string, string>>
}

/** Handles a request and returns the reply. What it throws reaches the requester as a `RemoteError`. */
export type NatsResponder = (request: NatsReply) => Uint8Array | string | Promise<Uint8Array | string>

/** Request and reply over core NATS: nothing is stored, in either mode. */
export class Requests {
  readonly #session: () => Session
  readonly #subjects: Subjects

  constructor(session: () => Session, subjects: Subjects) {
    this.#session = session
    this.#subjects = subjects
  }

  async request(
    topic: string,
    body: Uint8Array | string,
    { timeoutMs = DEFAULT_TIMEOUT_MS, headers = {} }: NatsRequestOptions = {},
  ): Promise<NatsReply> {
    const native = makeHeaders()
    for (const [name, value] of Object.entries(headers)) native.append(name, value)
    let answer: NatsReply
    try {
      answer = read(
        await this.#session().connection.request(this.#subjects.rpc(topic), body, {
          timeout: timeoutMs,
          headers: native,
        }),
      )
    } catch (error) {
      if (isNoResponders(error)) throw new NoRespondersError(`Nobody responds to "${topic}"`, { cause: error })
      throw toBusbarError(error, `Requesting "${topic}"`)
    }
    const failure = answer.headers[FAILED]
    if (failure !== undefined) throw new RemoteError(`The responder to "${topic}" failed: ${failure}`)
    return answer
  }

  async respond(topic: string, group: string, respond: NatsResponder): Promise<() => Promise<void>> {
    const session = this.#session()
    const answer = async (request: Msg): Promise<void> => {
      try {
        request.respond(await respond(read(request)))
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error)
        const headers = makeHeaders()
        headers.append(FAILED, text.replace(/[^\x20-\x7e]/g, '?').slice(0, 512))
        // Without a connection there is no way to reply; the requester's timeout reports it.
        if (!session.connection.isClosed()) request.respond('', { headers })
      }
    }
    const subscription = session.connection.subscribe(this.#subjects.rpc(topic), {
      queue: group,
      callback: (error, request) => {
        if (error !== null) session.error(error, `responding to "${topic}"`)
        else void answer(request)
      },
    })
    await session.connection.flush()
    return async () => {
      if (!subscription.isClosed() && !session.connection.isClosed()) await subscription.drain()
    }
  }
}

function read(message: Msg): NatsReply {
  const headers: Record<string, string> = Object.create(null) as Record<string, string>
  for (const [name, values] of message.headers ?? []) headers[name] = values.at(-1) ?? ''
  return { body: message.data, headers }
}
