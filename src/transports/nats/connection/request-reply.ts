import { randomUUID } from 'node:crypto'
import type { Subscription } from '@nats-io/transport-node'
import { StateError } from '../../../core/errors.ts'
import { bodyOf } from '../../../core/message.ts'
import type { EncodedMessage, OutgoingMessage } from '../../../core/message.ts'
import { tooLarge } from '../../../core/publish/size-limit.ts'
import type {
  RequestOptions,
  RequestReply,
  Responder,
  ResponderSpec,
  TransportResponder,
} from '../../../core/transport.ts'
import { PendingRequests, requestFailed } from '../../../core/util/pending-requests.ts'
import { failureOf, RunningRequests } from '../../../core/util/running-requests.ts'
import type { RequestAnswer } from '../../../core/util/running-requests.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import { toBusbarError } from '../errors.ts'
import type { Mapping } from '../wire/mapping.ts'
import type { Subjects } from '../wire/subjects.ts'
import type { Incoming } from './incoming.ts'
import type { Session, SessionPart } from './session.ts'
import type { NumberedReply } from './write-buffer.ts'

const NO_RESPONDERS = 503
/** Set on an answer that is no reply; its body is the reason. */
const FAILURE = 'busbar-failure'
const REFUSED = 'refused'
const FAILED = 'failed'
const BARE_BLOCK = Buffer.from('NATS/1.0')

/** Where answers come: one subscription for all requests of a session, each with a number of its own. */
interface Inbox {
  readonly session: Session
  readonly subscription: Subscription
  /** What comes before the number. */
  readonly start: Uint8Array
  readonly pending: PendingRequests
}

/** Requests and replies over core NATS: nothing is stored, with or without JetStream. */
export class NatsRequestReply implements RequestReply, SessionPart {
  readonly #openSession: () => Session
  readonly #subjects: Subjects
  readonly #mapping: Mapping
  readonly #responders = new Set<TransportResponder>()
  #inbox: Inbox | undefined
  #isClosed = false

  /** `openSession` throws when the transport is not open. */
  constructor(openSession: () => Session, subjects: Subjects, mapping: Mapping) {
    this.#openSession = openSession
    this.#subjects = subjects
    this.#mapping = mapping
  }

  async request(message: EncodedMessage, options: RequestOptions): Promise<EncodedMessage> {
    const session = this.#session()
    const { topic } = message
    if (!session.ready) throw requestFailed(topic, 'there is no connection to the server', 'not-sent')
    const error = tooLarge(message, session.options.maxMessageBytes, 'nats')
    if (error !== undefined) throw error
    const { pending, start } = (this.#inbox ??= this.#listen(session))
    return pending.start(topic, options, (number) => {
      const bytes = this.#write(session, this.#subjects.rpc(topic), { start, number }, message)
      if (bytes > session.maxPayload)
        throw requestFailed(topic, `it takes ${bytes} bytes, and the server takes ${session.maxPayload}`, 'not-sent', {
          retryable: false,
        })
    })
  }

  #session(): Session {
    const session = this.#openSession()
    if (this.#isClosed) throw new StateError('The NATS transport is closed')
    return session
  }

  #listen(session: Session): Inbox {
    const start = `${session.inbox()}.`
    const pending = new PendingRequests(session.host.clock)
    const subscription = session.subscribe(
      `${start}*`,
      (incoming) => {
        const id = Number(incoming.subject.slice(start.length))
        const topic = pending.topicOf(id)
        if (topic === undefined) return
        if (incoming.status === NO_RESPONDERS) pending.noResponders(id)
        else pending.answer(id, this.#readAnswer(session, incoming, topic))
      },
      (error) => {
        session.error(toBusbarError(error, 'Listening for replies'), 'listening for replies')
        pending.failAll(`no reply can come: ${error.message}`)
        this.#inbox = undefined
      },
    )
    session.add(this)
    return { session, subscription, start: Buffer.from(start), pending }
  }

  #readAnswer(session: Session, incoming: Incoming, topic: string): RequestAnswer {
    const reply = this.#read(session, incoming, topic)
    const failure = reply.headers[FAILURE]
    if (failure === undefined) return { reply }
    return { failure: Buffer.from(incoming.body).toString(), isRefusal: failure === REFUSED }
  }

  #read({ host }: Session, incoming: Incoming, topic: string): EncodedMessage {
    return this.#mapping.decode(incoming, topic, { id: () => randomUUID(), time: () => host.clock.now() }).message
  }

  async respond(spec: ResponderSpec, responder: Responder): Promise<TransportResponder> {
    const session = this.#session()
    const { topic, group } = spec
    const { clock } = session.host
    const size = { maxMessageBytes: session.options.maxMessageBytes, system: 'nats' }
    const running = new RunningRequests(spec, responder, clock, size)
    let refused: Error | undefined
    const subscription = session.subscribe(
      this.#subjects.rpc(topic),
      (incoming) => {
        const { reply } = incoming
        // No one waits for an answer.
        if (reply === '') return
        running.run(this.#read(session, incoming, topic), (answer) => this.#answer(session, reply, answer))
      },
      (error) => {
        refused = error
        session.error(toBusbarError(error, `Responding to "${topic}"`), `responding to "${topic}"`)
      },
      group,
    )
    const opened: TransportResponder = {
      close: async ({ deadlineMs = 5_000 } = {}) => {
        this.#responders.delete(opened)
        // What has arrived until the server knows is refused.
        const answered = running.close(deadlineMs)
        await settledWithin(clock, deadlineMs, end(subscription, session))
        await answered
      },
    }
    // Before the wait: the transport may be closed in the meantime.
    this.#responders.add(opened)
    try {
      await session.flush()
      if (refused !== undefined) throw refused
    } catch (error) {
      await opened.close({ deadlineMs: 0 })
      throw toBusbarError(error, `Responding to "${topic}"`)
    }
    return opened
  }

  #answer(session: Session, to: string, answer: RequestAnswer): void {
    // The requester's time limit reports what can't be answered now.
    if (!session.ready) return
    if (answer.reply !== undefined) {
      const bytes = this.#write(session, to, undefined, answer.reply)
      if (bytes <= session.maxPayload) return
      const reason = `its reply takes ${bytes} bytes, and the server takes ${session.maxPayload}`
      return this.#answer(session, to, failureOf(new Error(reason)))
    }
    const { failure, isRefusal } = answer
    const rest = `\r\n${FAILURE}: ${isRefusal ? REFUSED : FAILED}\r\n\r\n`
    session.writeBuffer.publishBlock(
      targetOf(to),
      undefined,
      BARE_BLOCK,
      rest,
      Buffer.from(failure),
      session.maxPayload,
    )
  }

  /** Returns the size of headers and body; nothing is written when that is more than the server takes. */
  #write(session: Session, subject: string, reply: NumberedReply | undefined, message: EncodedMessage): number {
    // How it was to be published is not part of the message.
    const plain: OutgoingMessage = { ...message, deliverAt: undefined, group: undefined }
    const [common, rest] = [this.#mapping.common(plain), this.#mapping.rest(plain, '')]
    return session.writeBuffer.publishBlock(targetOf(subject), reply, common, rest, bodyOf(plain), session.maxPayload)
  }

  down(reason: string): void {
    this.#inbox?.pending.failAll(reason)
  }

  up(): void {}

  /** Rejects what is pending at once, and closes the responders within the deadline. */
  async close(deadlineMs: number): Promise<void> {
    this.#isClosed = true
    const inbox = this.#inbox
    inbox?.pending.close()
    await Promise.all([...this.#responders].map((responder) => responder.close({ deadlineMs })))
    // A connection that the user passed stays open.
    if (inbox !== undefined && !inbox.subscription.isClosed() && !inbox.session.connection.isClosed())
      inbox.subscription.unsubscribe()
  }
}

/** Resolves when the server has ended the subscription; at once without a connection. Never rejects. */
async function end(subscription: Subscription, { connection, ready }: Session): Promise<void> {
  if (subscription.isClosed() || connection.isClosed()) return
  if (ready) await subscription.drain().catch(() => undefined)
  else subscription.unsubscribe()
}

function targetOf(subject: string): Uint8Array {
  return Buffer.from(`HPUB ${subject} `, 'latin1')
}
