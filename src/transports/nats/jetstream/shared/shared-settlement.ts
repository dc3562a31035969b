import { SettlementError } from '../../../../core/errors.ts'
import { storeDeadLetters } from '../../../../core/partitions/store-dead-letters.ts'
import type { Reject } from '../../../../core/partitions/store-dead-letters.ts'
import type { Settlement, SettlementFailure } from '../../../../core/transport.ts'
import type { AttemptNotes } from './attempt-notes.ts'
import type { AckConfirmations, Verb } from './ack-confirmations.ts'
import type { DeliveringConsumer, NatsDelivery } from './delivery.ts'
import { deadLetterId } from '../server/identity.ts'
import type { JetStreamPublisher } from '../publish/publisher.ts'
import type { Session } from '../../connection/session.ts'

const NO_FAILURES: readonly SettlementFailure[] = Object.freeze([])
const NAK: Uint8Array = Buffer.from('-NAK')
const NANOS = 1_000_000
/** A live server answers a nak at once. */
const NAK_TIMEOUT_MS = 2_000

export interface SettlementParts {
  readonly session: Session
  readonly publisher: JetStreamPublisher
  readonly confirmations: AckConfirmations
  readonly notes: AttemptNotes
  /** False when another member may have had the message since it came. `now`: monotonic ms. */
  readonly wasOursAlone: (delivery: NatsDelivery, now: number) => boolean
}

/** Parallel to the deliveries. */
type Errors = readonly (SettlementError | undefined)[]

export interface HandedBack {
  readonly delivery: NatsDelivery
  /** Attempts used. */
  readonly used: number
  readonly delayMs: number
  /** The key waits with it, in the process that has it: the server redelivers it at once. */
  readonly inOrder: boolean
}

/** Applies the runtime's outcomes to deliveries. */
export class SharedSettlement {
  readonly #parts: SettlementParts

  constructor(parts: SettlementParts) {
    this.#parts = parts
  }

  settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    const failures: SettlementFailure[] = []
    const acks: NatsDelivery[] = []
    let ackIndexes: number[] | undefined
    const dropped: NatsDelivery[] = []
    const back: HandedBack[] = []
    const rejects: Reject<NatsDelivery>[] = []
    for (let index = 0; index < batch.length; index++) {
      const { delivery: given, outcome } = batch[index] as Settlement
      const delivery = given as NatsDelivery
      const error = this.#refusal(delivery)
      if (error !== undefined) {
        failures.push({ index, error })
        // From here on the indexes in the two lists differ.
        ackIndexes ??= Array.from({ length: acks.length }, (_, at) => at)
        continue
      }
      if (outcome.type === 'ack') {
        this.#finish(delivery)
        if (acks.length !== index) ackIndexes ??= Array.from({ length: acks.length }, (_, at) => at)
        acks.push(delivery)
        ackIndexes?.push(index)
      } else if (outcome.type === 'reject') {
        if (outcome.deadLetter === undefined) {
          this.#finish(delivery)
          dropped.push(delivery)
        } else {
          rejects.push({ index, delivery, deadLetter: outcome.deadLetter })
        }
      } else {
        this.#finish(delivery)
        const { delayMs, inOrder = false } = outcome
        const used = outcome.type === 'nack' ? delivery.attempt : delivery.attempt - 1
        back.push({ delivery, used, delayMs, inOrder })
      }
    }
    if (acks.length === batch.length) return this.#ackAll(acks)
    return this.#rest(failures, acks, ackIndexes, dropped, back, rejects)
  }

  /** The usual batch: only acks. */
  async #ackAll(acks: readonly NatsDelivery[]): Promise<readonly SettlementFailure[]> {
    const errors = await this.#send(acks, 'ack')
    return errors === undefined ? NO_FAILURES : failuresOf(errors, (at) => at)
  }

  async #rest(
    failures: SettlementFailure[],
    acks: readonly NatsDelivery[],
    ackIndexes: readonly number[] | undefined,
    dropped: readonly NatsDelivery[],
    back: readonly HandedBack[],
    rejects: readonly Reject<NatsDelivery>[],
  ): Promise<readonly SettlementFailure[]> {
    const [ackErrors] = await Promise.all([
      this.#send(acks, 'ack'),
      // No caller waits for a dropped message; if it comes again it is dropped again.
      this.#send(dropped, 'term'),
      this.handBack(back),
      this.#reject(rejects, failures),
    ])
    if (ackErrors !== undefined) failures.push(...failuresOf(ackErrors, (at) => ackIndexes?.[at] ?? at))
    return failures
  }

  #refusal(delivery: NatsDelivery): SettlementError | undefined {
    if (delivery.lost) return new SettlementError('The delivery was taken back; the message is delivered again')
    if (delivery.settled) return new SettlementError('The delivery has been settled before')
    return undefined
  }

  #finish(delivery: NatsDelivery): void {
    delivery.settled = true
    delivery.consumer.outstanding.remove(delivery)
  }

  /** Resolves with the error of each; undefined when there is none. */
  async #send(deliveries: readonly NatsDelivery[], verb: Verb): Promise<Errors | undefined> {
    if (deliveries.length === 0) return undefined
    const { session, confirmations, notes, wasOursAlone } = this.#parts
    for (const { consumer, seq } of deliveries) consumer.acked.add(seq)
    const error = await confirmations.send(deliveries, verb)
    if (error !== undefined) return deliveries.map(() => error)
    let errors: (SettlementError | undefined)[] | undefined
    // Once for the batch.
    const now = session.host.clock.monotonic()
    for (let index = 0; index < deliveries.length; index++) {
      const delivery = deliveries[index] as NatsDelivery
      // The server confirms any ack, even a late one from a process that was frozen.
      if (wasOursAlone(delivery, now)) {
        if (delivery.note !== undefined) notes.forget(delivery)
      } else
        (errors ??= Array.from({ length: deliveries.length }))[index] = new SettlementError(
          'Its time ran out while the ack was on its way; another member may have had the message',
        )
    }
    return errors
  }

  /** First writes the notes that are needed, then gives the messages back, in order of their sequence. */
  async handBack(back: readonly HandedBack[]): Promise<void> {
    if (back.length === 0) return
    await Promise.all(back.map((each) => this.#note(each)))
    await this.giveBack(back)
  }

  /** Gives back one message that came before its time. `noted`: its note must be written again. */
  async delay(delivery: NatsDelivery, delayMs: number, noted: boolean): Promise<void> {
    if (noted) await this.#note({ delivery, used: delivery.attempt - 1, delayMs, inOrder: false })
    if (!this.#parts.session.ready || !isStillHere(delivery)) return
    delivery.answer(this.#parts.session.writeBuffer, '', nak(delayMs))
  }

  /** Gives messages back, in order of their sequence; resolves when the server has them. */
  async giveBack(back: readonly Pick<HandedBack, 'delivery' | 'delayMs' | 'inOrder'>[]): Promise<void> {
    const { session } = this.#parts
    // Without a session they come back by themselves when the ack wait is over.
    if (!session.ready) return
    const lasts = new Map<DeliveringConsumer, { readonly reply: string; readonly body: Uint8Array }>()
    for (const { delivery, delayMs, inOrder } of back.toSorted((a, b) => a.delivery.seq - b.delivery.seq)) {
      if (!isStillHere(delivery)) continue
      const { consumer, reply } = delivery
      const last = lasts.get(consumer)
      if (last !== undefined) session.writeBuffer.publish(last.reply, '', last.body)
      lasts.set(consumer, { reply, body: nak(inOrder ? 0 : delayMs) })
    }
    session.writeBuffer.flush()
    // A consumer processes acks in order: when it has answered the last one, the next request gets these messages
    // first.
    await Promise.all(
      [...lasts.values()].map(({ reply, body }) =>
        // If the server is gone, it redelivers them when their ack wait is over.
        session.request(reply, body, { timeout: NAK_TIMEOUT_MS }).catch(() => undefined),
      ),
    )
  }

  async #note({ delivery, used, delayMs, inOrder }: HandedBack): Promise<void> {
    const { notes, session } = this.#parts
    if (!session.ready) return
    const notBefore = delayMs > 0 ? session.host.clock.now() + delayMs : undefined
    const { delivered } = delivery
    try {
      await notes.write(delivery, { used, running: false, delivered, notBefore, inOrder: inOrder || undefined })
    } catch (error) {
      session.error(error, `noting the attempts at message ${delivery.message.id}`)
    }
  }

  async #reject(rejects: readonly Reject<NatsDelivery>[], failures: SettlementFailure[]): Promise<void> {
    const stored = await storeDeadLetters(
      (some) =>
        this.#parts.publisher.publish(
          some.map(({ deadLetter }) => deadLetter),
          undefined,
          some.map(({ delivery: { seq, consumer }, deadLetter }) => deadLetterId(deadLetter, seq, consumer.identity)),
        ),
      rejects,
      failures,
    )
    for (const { delivery } of stored) this.#finish(delivery)
    const errors = await this.#send(
      stored.map(({ delivery }) => delivery),
      'term',
    )
    if (errors !== undefined) failures.push(...failuresOf(errors, (at) => stored[at]?.index ?? at))
  }
}

/** If not, the server has taken it back and may have redelivered it; the redelivery must not be given back. */
function isStillHere({ leaseGeneration, consumer }: NatsDelivery): boolean {
  return leaseGeneration === consumer.leaseGeneration
}

function failuresOf(errors: Errors, indexOf: (at: number) => number): SettlementFailure[] {
  const failures: SettlementFailure[] = []
  for (const [at, error] of errors.entries()) if (error !== undefined) failures.push({ index: indexOf(at), error })
  return failures
}

function nak(delayMs: number): Uint8Array {
  return delayMs > 0 ? Buffer.from(`-NAK {"delay": ${Math.ceil(delayMs) * NANOS}}`) : NAK
}
