import type { Clock, Timer } from '../../../core/clock.ts'
import type { PublishError } from '../../../core/errors.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import type { Outcome, SettlementFailure } from '../../../core/transport.ts'
import type { RabbitMqDelivery } from '../consume/delivery.ts'
import { lostError } from '../errors.ts'
import type { CopyNotes } from './publish-job.ts'
import type { RabbitMqPublisher } from './publisher.ts'

const OWN_PREFIX = 'busbar-'
const STACK = 'busbar-dlq-stack'
/** Names of the headers that a dead letter had to leave out. */
const CUT = 'busbar-dlq-cut'
const MAX_CUT_NAME = 100
const MAX_CUT = 400

/** A delivery whose outcome requires a publish. Its state is `settling`. */
export interface Pending {
  /** Index in the batch of `settle`. */
  readonly index: number
  readonly delivery: RabbitMqDelivery
  readonly outcome: Exclude<Outcome, { type: 'ack' }>
}

interface RepublisherHost {
  /** The broker has stored what follows from the delivery, which may be acked. */
  done(delivery: RabbitMqDelivery): void
  /** It has waited here, and is to be tried again. */
  again(delivery: RabbitMqDelivery, used: number): void
  flush(): void
  failed(error: unknown, doing: string): void
}

/** Dead letters and delayed copies of deliveries: stored by the broker before their source is acked. */
export class Republisher {
  readonly #publisher: RabbitMqPublisher
  readonly #clock: Clock
  readonly #group: string
  readonly #groupQueue: string | undefined
  /** True when delays are copies that the broker keeps; otherwise the delivery itself waits here. */
  readonly #copies: boolean
  readonly #host: RepublisherHost
  readonly #closing = new AbortController()
  readonly #timers = new Set<Timer>()

  constructor(parts: {
    readonly publisher: RabbitMqPublisher
    readonly clock: Clock
    readonly group: string
    /** The first queue of the group, for dead letters whose topic and group don't say it. */
    readonly groupQueue: string | undefined
    readonly copies: boolean
    readonly host: RepublisherHost
  }) {
    this.#publisher = parts.publisher
    this.#clock = parts.clock
    this.#group = parts.group
    this.#groupQueue = parts.groupQueue
    this.#copies = parts.copies
    this.#host = parts.host
  }

  /** Adds to `failures`, and resolves with it when every delivery has its outcome or waits here. */
  async settle(pending: readonly Pending[], failures: SettlementFailure[]): Promise<readonly SettlementFailure[]> {
    const published: Pending[] = []
    const messages: OutgoingMessage[] = []
    const notes: (CopyNotes | undefined)[] = []
    for (const each of pending) {
      const { delivery, outcome } = each
      if (outcome.type === 'reject') {
        messages.push(outcome.deadLetter as OutgoingMessage)
        const { carried } = delivery
        const groupQueue = this.#groupQueue
        notes.push(
          carried === undefined && groupQueue === undefined
            ? undefined
            : { attempts: 0, firstAt: undefined, carried, groupQueue },
        )
      } else if (this.#copies) {
        messages.push(this.#copyOf(delivery, outcome.delayMs))
        notes.push(this.#notesOf(delivery, outcome.type === 'nack'))
      } else {
        this.#waitHere(delivery, outcome)
        continue
      }
      published.push(each)
    }
    if (published.length === 0) return failures
    const outcomes = await this.#publisher.publish(messages, this.#closing.signal, notes)
    for (const [at, { index, delivery, outcome }] of published.entries()) {
      const error = (await outcomes[at])?.error
      if (delivery.lost || delivery.state !== 'settling') failures.push({ index, error: lostError() })
      else if (error === undefined) this.#host.done(delivery)
      else if (outcome.type === 'reject') {
        if (isTooLarge(error) && (await this.#publishCut(messages[at] as OutgoingMessage, notes[at]))) {
          if (delivery.lost || delivery.state !== 'settling') failures.push({ index, error: lostError() })
          else this.#host.done(delivery)
          continue
        }
        // The source stays with the runtime, which retries the dead letter.
        delivery.state = 'handed'
        failures.push({ index, error })
      } else {
        this.#host.failed(error, `delaying message ${delivery.message.id}`)
        this.#waitHere(delivery, outcome)
      }
    }
    this.#host.flush()
    return failures
  }

  close(): void {
    this.#closing.abort()
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
  }

  /**
   * A message whose own headers nearly fill a frame has no room for a dead letter's headers, and would come back
   * forever. So, when the short form does not fit either, it is sent without its largest headers, whose names it lists.
   */
  async #publishCut(message: OutgoingMessage, notes: CopyNotes | undefined): Promise<boolean> {
    if (message.headers[STACK] !== undefined) return false
    const headers = Object.assign(Object.create(null) as Record<string, string>, message.headers)
    const names = Object.keys(headers).filter((name) => !name.startsWith(OWN_PREFIX))
    names.sort((a, b) => (headers[b] as string).length - (headers[a] as string).length)
    const cut: string[] = []
    for (const name of names) {
      cut.push(name.slice(0, MAX_CUT_NAME))
      delete headers[name]
      headers[CUT] = cut.join(' ').slice(0, MAX_CUT)
      const [outcome] = await this.#publisher.publish([{ ...message, headers }], this.#closing.signal, [notes])
      const error = (await outcome)?.error
      if (error === undefined) return true
      if (!isTooLarge(error)) return false
    }
    return false
  }

  #copyOf({ message }: RabbitMqDelivery, delayMs: number): OutgoingMessage {
    return { ...message, deliverAt: delayMs > 0 ? this.#clock.now() + delayMs : undefined, group: this.#group }
  }

  #notesOf({ attempt, firstDeliveredAt, carried, reader }: RabbitMqDelivery, failed: boolean): CopyNotes {
    return {
      attempts: failed ? attempt : attempt - 1,
      firstAt: firstDeliveredAt ?? this.#clock.now(),
      carried,
      queue: reader.queue,
    }
  }

  /** There is no copy, so the message itself waits. */
  #waitHere(delivery: RabbitMqDelivery, { type, delayMs }: Exclude<Pending['outcome'], { type: 'reject' }>): void {
    const used = type === 'nack' ? delivery.attempt : delivery.attempt - 1
    const timer = this.#clock.setTimer(delayMs, () => {
      this.#timers.delete(timer)
      if (delivery.lost || delivery.state !== 'settling') return
      this.#host.again(delivery, used)
      this.#host.flush()
    })
    this.#timers.add(timer)
  }
}

function isTooLarge({ cause, outcome }: PublishError): boolean {
  return outcome === 'not-sent' && cause instanceof RangeError
}
