import { errors as natsErrors } from '@nats-io/transport-node'
import type { Subscription } from '@nats-io/transport-node'
import type { Timer } from '../../../../core/clock.ts'
import { ConnectionError, TimeoutError } from '../../../../core/errors.ts'
import type { Incoming } from '../../connection/incoming.ts'
import type { Session, SessionPart } from '../../connection/session.ts'
import type { NumberedReply } from '../../connection/write-buffer.ts'
import { ERR, JetStreamError, toBusbarError } from '../../errors.ts'
import { pubAckError, PubAckReader } from '../publish/pub-ack.ts'

/** How long a record may take to be stored. */
const TIMEOUT_MS = 5_000
/** A record without an answer is sent again after this time, if that does no harm: the node that it went to may have died. */
const AGAIN_MS = 750
const CHECK_MS = 250
const START: Uint8Array = Buffer.from('NATS/1.0')
const NO_CONDITION = '\r\n\r\n'

interface Write {
  readonly subject: string
  readonly target: Uint8Array
  readonly headers: string
  readonly body: Uint8Array
  readonly isRepeatable: boolean
  readonly startedAt: number
  sentAt: number
  readonly resolve: (seq: number | undefined) => void
  readonly reject: (error: unknown) => void
}

/**
 * Writes records. All answers come to one inbox, whose subject ends in a number for each record: a request of the client
 * library would cost ten times as much, and a busy consumer writes records all the time.
 */
export class RecordWriter implements SessionPart {
  readonly #session: Session
  readonly #inbox: string
  readonly #reply: NumberedReply
  readonly #acks = new PubAckReader()
  readonly #writes = new Map<number, Write>()
  #subscription: Subscription | undefined
  #next = 1
  #timer: Timer | undefined

  constructor(session: Session) {
    this.#session = session
    this.#inbox = session.inbox()
    this.#reply = { start: Buffer.from(`${this.#inbox}.`), number: 0 }
  }

  open(): void {
    this.#subscription = this.#session.subscribe(
      `${this.#inbox}.*`,
      (message) => this.#answered(message),
      (error) => this.#session.error(error, 'receiving the answers to records'),
    )
  }

  /**
   * Resolves with the sequence of the record. `isRepeatable`: it may be stored several times, and late; of one with a
   * condition the server takes at most one copy. `expected`: only if the last record of the subject has that sequence (0: if
   * there is none); resolves with undefined if not. That may also mean that this very record was stored without an answer by
   * a node that then died.
   */
  write(
    subject: string,
    text: string,
    expected: number | undefined,
    isRepeatable: boolean = expected !== undefined,
  ): Promise<number | undefined> {
    if (!this.#session.ready)
      return Promise.reject(new ConnectionError(`Writing "${subject}": the server is out of reach`))
    return new Promise((resolve, reject) => {
      const now = this.#session.host.clock.monotonic()
      const number = this.#next++
      const write: Write = {
        subject,
        target: Buffer.from(`HPUB ${subject} `, 'latin1'),
        headers: expected === undefined ? NO_CONDITION : `\r\nNats-Expected-Last-Subject-Sequence: ${expected}\r\n\r\n`,
        body: Buffer.from(text),
        isRepeatable,
        startedAt: now,
        sentAt: now,
        resolve,
        reject,
      }
      this.#writes.set(number, write)
      this.#send(number, write)
      this.#timer ??= this.#session.host.clock.setTimer(CHECK_MS, () => this.#check())
    })
  }

  #send(number: number, write: Write): void {
    const { writeBuffer, maxPayload } = this.#session
    this.#reply.number = number
    const bytes = writeBuffer.publishBlock(write.target, this.#reply, START, write.headers, write.body, maxPayload)
    if (bytes <= maxPayload) return
    this.#writes.delete(number)
    write.reject(
      new JetStreamError(
        `Writing "${write.subject}"`,
        400,
        0,
        `it takes ${bytes} bytes, and the server takes ${maxPayload}`,
      ),
    )
  }

  #answered(answer: Incoming): void {
    const number = Number(answer.subject.slice(this.#inbox.length + 1))
    const write = this.#writes.get(number)
    if (write === undefined) return
    this.#writes.delete(number)
    const seq = this.#acks.sequenceIn(answer)
    if (seq !== undefined) return write.resolve(seq)
    const doing = `Writing "${write.subject}"`
    if (answer.status > 0) return write.reject(toBusbarError(new natsErrors.NoRespondersError(write.subject), doing))
    const error = pubAckError(answer.text) ?? { code: 500, errCode: 0, description: answer.text }
    if (error.errCode === ERR.wrongLastSequence) write.resolve(undefined)
    else write.reject(new JetStreamError(doing, error.code, error.errCode, error.description))
  }

  #check(): void {
    this.#timer = undefined
    const now = this.#session.host.clock.monotonic()
    for (const [number, write] of this.#writes) {
      if (now - write.startedAt >= TIMEOUT_MS) {
        this.#writes.delete(number)
        write.reject(new TimeoutError(`Writing "${write.subject}": the NATS server did not answer in time`))
      } else if (write.isRepeatable && now - write.sentAt >= AGAIN_MS) {
        write.sentAt = now
        this.#send(number, write)
      }
    }
    if (this.#writes.size > 0) this.#timer = this.#session.host.clock.setTimer(CHECK_MS, () => this.#check())
  }

  down(reason: string): void {
    this.#fail(reason)
  }

  up(): void {}

  close(): void {
    this.#fail('the transport was closed')
    if (!this.#session.connection.isClosed()) this.#subscription?.unsubscribe()
  }

  #fail(reason: string): void {
    this.#timer?.cancel()
    this.#timer = undefined
    const failed = [...this.#writes.values()]
    this.#writes.clear()
    for (const { subject, reject } of failed) reject(new ConnectionError(`Writing "${subject}": ${reason}`))
  }
}
