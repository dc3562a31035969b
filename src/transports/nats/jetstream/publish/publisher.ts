import type { Subscription } from '@nats-io/transport-node'
import type { Timer } from '../../../../core/clock.ts'
import { PublishError } from '../../../../core/errors.ts'
import type { OutgoingMessage } from '../../../../core/message.ts'
import { bodyBytes, bodyOf } from '../../../../core/message.ts'
import { tooLarge } from '../../../../core/publish/size-limit.ts'
import { isDeadLetterTopic } from '../../../../core/topic.ts'
import type { PublishOutcome } from '../../../../core/transport.ts'
import { ERR, notConfirmed } from '../../errors.ts'
import type { Incoming } from '../../connection/incoming.ts'
import { Mapping, positionOf } from '../../wire/mapping.ts'
import { AnswerPlace, pubAckError, PubAckReader } from './pub-ack.ts'
import { PublishBatch } from './publish-batch.ts'
import { TopicAges } from './topic-ages.ts'
import type { Session, SessionPart } from '../../connection/session.ts'
import type { Subjects } from '../../wire/subjects.ts'
import type { Topology } from '../server/topology.ts'

/** Interval of checks for overdue answers. */
const CHECK_MS = 500
/** After this time without any answer, checks whether answers were lost or the connection is slow. */
const ANSWER_TIMEOUT_MS = 5_000
/** Maximum number of unanswered bytes: a slow connection must not be filled with what will only be sent again. */
const MAX_BYTES_IN_FLIGHT = 16_777_216
/** Pause before everything that the server could not take is sent again, doubled up to a limit. */
const AGAIN_BASE_MS = 50
const AGAIN_MAX_MS = 2_000

/**
 * Publishes with JetStream's acknowledgement, many at a time: all answers come to one inbox, and the subject of an
 * answer identifies its message. Messages without an answer (the connection was lost, the stream has no leader) are
 * sent again with the same `Nats-Msg-Id`, so that the server stores them once.
 */
export class JetStreamPublisher implements SessionPart {
  readonly #session: Session
  readonly #subjects: Subjects
  readonly #topology: Topology
  readonly #mapping: Mapping
  readonly #ages: TopicAges
  readonly #inbox: string
  readonly #place = new AnswerPlace()
  readonly #acks = new PubAckReader()
  readonly #batches = new Map<number, PublishBatch>()
  /** Batches with messages to send (again), in order. */
  #queue: PublishBatch[] = []
  /**
   * Topics without a listening stream. A stream that comes back in the middle of a burst would store the second half
   * before the first: so one message is sent ahead of the others of its topic. True while that one is in progress.
   */
  readonly #held = new Map<string, boolean>()
  readonly #mayBeSent = ({ topic }: OutgoingMessage): boolean => this.#held.size === 0 || this.#held.get(topic) !== true
  #nextBatch = 1
  #inFlight = 0
  #bytesInFlight = 0
  /** The last answer was a refusal. */
  #isRefused = false
  #lastAnswerAt = 0
  #asking = false
  #subscription: Subscription | undefined
  #check: Timer | undefined
  #again: Timer | undefined
  #againTries = 0
  #pumping = false
  #closed = false

  constructor(session: Session, subjects: Subjects, topology: Topology) {
    this.#session = session
    this.#subjects = subjects
    this.#topology = topology
    this.#mapping = new Mapping(session.options.envelope)
    this.#ages = new TopicAges(session.options.retention)
    this.#inbox = session.inbox()
  }

  open(): void {
    this.#subscription = this.#session.subscribe(
      `${this.#inbox}.*.*`,
      (message) => this.#answered(message),
      (error) => this.#session.error(error, 'receiving the confirmations of JetStream'),
    )
  }

  publish(
    messages: readonly OutgoingMessage[],
    signal: AbortSignal | undefined,
    messageIds?: readonly string[],
  ): Promise<readonly PublishOutcome[]> {
    return new Promise((resolve) => {
      const batch = new PublishBatch(this.#nextBatch++, this.#inbox, messages, messageIds, (outcomes) => {
        this.#batches.delete(batch.id)
        resolve(outcomes)
      })
      if (batch.open === 0) return resolve([])
      this.#batches.set(batch.id, batch)
      if (this.#closed) return batch.failRest('the transport is closed')
      if (signal !== undefined) batch.watch(signal, (gone) => this.#freed(gone))
      if (batch.open === 0) return
      this.#queue.push(batch)
      this.#pump()
      this.#armCheck()
    })
  }

  /** Sends as much as the window allows. */
  #pump(): void {
    const { options } = this.#session
    while (
      this.#session.ready &&
      this.#again === undefined &&
      this.#inFlight < options.maxInFlight &&
      this.#bytesInFlight < MAX_BYTES_IN_FLIGHT
    ) {
      const batch = this.#queue[0]
      if (batch === undefined) return
      const index = batch.nextUnsent(this.#mayBeSent)
      if (index === undefined) {
        this.#queue.shift()
        continue
      }
      this.#send(batch, index)
    }
  }

  #send(batch: PublishBatch, index: number): void {
    const message = batch.messages[index] as OutgoingMessage
    const refusal = this.#refuse(message)
    if (refusal !== undefined) return batch.settle(index, { error: refusal })
    const { writeBuffer, maxPayload } = this.#session
    batch.reply.number = index
    const bytes = writeBuffer.publishBlock(
      this.#subjects.target(message.topic, message.key),
      batch.reply,
      this.#mapping.common(message),
      this.#mapping.rest(message, batch.messageIds?.[index], this.#ages.of(message.topic)?.ttl),
      bodyOf(message),
      maxPayload,
    )
    if (bytes > maxPayload) return batch.settle(index, { error: overPayload(message, bytes, maxPayload) })
    batch.sent(index, this.#session.host.clock.monotonic())
    if (this.#held.has(message.topic)) this.#held.set(message.topic, true)
    this.#inFlight++
    this.#bytesInFlight += bodyBytes(message)
  }

  #refuse(message: OutgoingMessage): PublishError | undefined {
    const error = tooLarge(message, this.#session.options.maxMessageBytes, 'nats')
    if (error !== undefined) return error
    const { name } = this.#topology
    if (!this.#topology.takes(message.topic) && !isDeadLetterTopic(message.topic))
      return new PublishError(
        `The stream "${name}" (stream.bind) does not store "${message.topic}": publish to one of its subjects, or add this one to it. It was not sent.`,
        { outcome: 'not-sent' },
      )
    if (message.deliverAt === undefined) return undefined
    const age = this.#ages.of(message.topic)
    const maxAgeMs = age === undefined ? this.#topology.maxAgeMs : age.maxAgeMs
    if (maxAgeMs === undefined) return undefined
    if (message.deliverAt - this.#session.host.clock.now() < maxAgeMs) return undefined
    return new PublishError(
      `The message for "${message.topic}" is to be delivered later than its stream keeps messages (maxAgeMs ${maxAgeMs}). It was not sent.`,
      { outcome: 'not-sent' },
    )
  }

  // --- answers -----------------------------------------------------------------------------------------------------

  #answered(answer: Incoming): void {
    this.#place.read(answer, this.#inbox.length + 1)
    const { batch: id, index } = this.#place
    const batch = this.#batches.get(id)
    if (batch === undefined || !batch.isSent(index)) return
    const seq = this.#acks.sequenceIn(answer)
    if (seq === undefined) {
      this.#refused(batch, index, answer.text)
      return
    }
    this.#againTries = 0
    if (this.#isRefused) {
      this.#isRefused = false
      this.#session.remark(this, undefined)
    }
    this.#lastAnswerAt = this.#session.host.clock.monotonic()
    const message = batch.messages[index] as OutgoingMessage
    this.#arrived(message)
    this.#release(message)
    const stream = this.#topology.streamOf(isDeadLetterTopic(message.topic))
    batch.settle(index, { position: positionOf(stream, seq) })
    // Topics that were given up may never be published to again.
    if (this.#batches.size === 0) this.#held.clear()
    if (this.#queue.length > 0) this.#pumpSoon()
  }

  /** No stream took it, or the stream refused it. */
  #refused(batch: PublishBatch, index: number, text: string): void {
    const error = pubAckError(text)
    const passing =
      error === undefined || error.code === 503 || error.code === 429 || error.errCode === ERR.tooManyRequests
    // "maximum messages exceeded" and the like also come as 503, and do not pass by themselves.
    const message = batch.messages[index] as OutgoingMessage
    if (passing && !(error !== undefined && /maximum|exceeded|insufficient/i.test(error.description))) {
      this.#held.set(message.topic, false)
      this.#sendAllAgain()
      return
    }
    this.#arrived(message)
    this.#release(message)
    const { topic } = message
    if (error !== undefined) {
      this.#isRefused = true
      this.#session.remark(this, `JetStream refuses messages: ${error.description}`)
    }
    batch.settle(index, {
      error: notConfirmed(topic, `JetStream refused it: ${error?.description ?? text}`, 'not-sent'),
    })
    this.#pumpSoon()
  }

  #pumpSoon(): void {
    if (this.#pumping) return
    this.#pumping = true
    queueMicrotask(() => {
      this.#pumping = false
      this.#pump()
    })
  }

  #arrived(message: OutgoingMessage): void {
    this.#inFlight--
    this.#bytesInFlight -= bodyBytes(message)
  }

  /** The stream of a topic exists: its waiting messages may be sent. An answer to the refused burst proves nothing yet. */
  #release({ topic }: OutgoingMessage): void {
    if (this.#held.size === 0 || this.#again !== undefined || !this.#held.delete(topic)) return
    this.#restart()
  }

  #restart(): void {
    this.#queue = [...this.#batches.values()]
    for (const batch of this.#queue) batch.restart()
  }

  #freed(gone: readonly OutgoingMessage[]): void {
    for (const message of gone) {
      this.#arrived(message)
      if (this.#held.has(message.topic)) this.#held.set(message.topic, false)
    }
    if (this.#held.size > 0) this.#restart()
    this.#pumpSoon()
  }

  // --- again -------------------------------------------------------------------------------------------------------

  /** After a pause, sends everything without an answer again, in order: a missing stream should exist by then. */
  #sendAllAgain(): void {
    if (this.#again !== undefined || !this.#session.ready) return
    const delayMs = Math.min(AGAIN_MAX_MS, AGAIN_BASE_MS * 2 ** this.#againTries++)
    this.#again = this.#session.host.clock.setTimer(delayMs, () => {
      const go = (): void => {
        this.#again = undefined
        if (this.#session.ready) this.#resend()
      }
      this.#topology.ensure().then(go, (error: unknown) => {
        this.#session.error(error, 'making sure that the streams are there')
        go()
      })
    })
  }

  #resend(): void {
    this.#inFlight = 0
    this.#bytesInFlight = 0
    for (const topic of this.#held.keys()) this.#held.set(topic, false)
    this.#queue = [...this.#batches.values()]
    for (const batch of this.#queue) batch.rewind()
    this.#pump()
  }

  #armCheck(): void {
    if (this.#check !== undefined || this.#batches.size === 0) return
    this.#check = this.#session.host.clock.setTimer(CHECK_MS, () => {
      this.#check = undefined
      const overdue = this.#session.host.clock.monotonic() - ANSWER_TIMEOUT_MS
      if (this.#lastAnswerAt <= overdue)
        for (const batch of this.#batches.values())
          if (batch.oldestSentAt <= overdue) {
            this.#askForAnswers()
            break
          }
      this.#armCheck()
    })
  }

  /**
   * A round trip to the server: if it completes and the answers have not come before it, they never will. If it does
   * not complete, the connection is slow or dead, and sending again would only make that worse.
   */
  #askForAnswers(): void {
    if (this.#asking || !this.#session.ready) return
    this.#asking = true
    const before = this.#lastAnswerAt
    this.#session.flush().then(
      () => {
        this.#asking = false
        if (this.#lastAnswerAt === before) this.#sendAllAgain()
      },
      () => {
        // The connection is lost; what has no answer is sent again when it is back.
        this.#asking = false
      },
    )
  }

  // --- life --------------------------------------------------------------------------------------------------------

  down(): void {
    this.#again?.cancel()
    this.#again = undefined
  }

  up(): void {
    this.#againTries = 0
    this.#resend()
  }

  close(): void {
    this.#closed = true
    this.#check?.cancel()
    this.#again?.cancel()
    this.#check = undefined
    for (const batch of this.#batches.values()) batch.failRest('the transport was closed')
    this.#subscription?.unsubscribe()
  }
}

/** With its headers it takes more than the server's `max_payload`. */
function overPayload(message: OutgoingMessage, bytes: number, limit: number): PublishError {
  return new PublishError(
    `The message for "${message.topic}" takes ${bytes} bytes, headers included; NATS takes ${limit} here. Send a reference to the data, or raise max_payload of the server and maxMessageBytes. It was not sent.`,
    { outcome: 'not-sent' },
  )
}
