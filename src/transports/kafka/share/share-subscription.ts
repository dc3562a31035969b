// Over 250 lines: one member's side of the contract, whose parts act on the same few lists of deliveries.
import { sleep } from '../../../core/clock.ts'
import { SettlementError, StateError } from '../../../core/errors.ts'
import type { PublishError } from '../../../core/errors.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import type {
  DeliverySink,
  PublishOutcome,
  Settlement,
  SettlementFailure,
  SubscriptionSpec,
  SubscriptionState,
  TransportSubscription,
} from '../../../core/transport.ts'
import { growingDelay, halfRandom } from '../../../core/util/backoff.ts'
import { CreditBalance } from '../../../core/util/credit-balance.ts'
import type { ShareConsumer, ShareRecord } from '../../../kafka/index.ts'
import { topicExpression } from '../consume/topic-expression.ts'
import type { KafkaContext } from '../context.ts'
import { AcquisitionWindow } from './acquisition-window.ts'
import { giveBack } from './give-back.ts'
import type { GiveBackHost } from './give-back.ts'
import { ShareDelivery } from './share-delivery.ts'
import { shareGroupOf } from './share-group.ts'
import type { ResolvedShareOptions } from './share-options.ts'
import { Verdicts } from './verdicts.ts'
import { WaitingDeliveries } from './waiting-deliveries.ts'

/** Pauses before a consumer that has ended is replaced. */
const AGAIN = { minMs: 500, maxMs: 30_000 }
/** What waits here for its time: more is not acquired then. */
const MAX_WAITING = 10_000
/** If it is not known how many handlers run. */
const CONCURRENCY = 10

export interface ShareSubscriptionParts {
  readonly context: KafkaContext
  readonly spec: SubscriptionSpec
  readonly options: ResolvedShareOptions
  readonly deliveryLimit: number
  readonly sink: DeliverySink
  readonly publish: (batch: readonly OutgoingMessage[]) => Promise<readonly PublishOutcome[]>
  readonly onClosed: (subscription: ShareSubscription) => void
}

/** A settlement that needs messages to be stored first. */
interface AfterMessages {
  readonly index: number
  readonly delivery: ShareDelivery
  readonly messages: readonly OutgoingMessage[]
  readonly verdict: 'accept' | 'reject'
}

/**
 * One member of a share group. The broker locks what it hands out, and the client renews the locks. A retry waits here, under its lock: every
 * acquisition counts as a delivery, and after the last one the broker drops the message in silence.
 */
export class ShareSubscription implements TransportSubscription {
  readonly spec: SubscriptionSpec
  readonly #parts: ShareSubscriptionParts
  readonly #credit = new CreditBalance()
  readonly #window: AcquisitionWindow
  readonly #verdicts = new Verdicts()
  readonly #waiting: WaitingDeliveries
  /** Those with the runtime. */
  readonly #outstanding = new Map<ShareRecord, ShareDelivery>()
  /** To be handed out when there is credit. */
  #ready: ShareDelivery[] = []
  readonly #closing = new AbortController()
  /** What is on its way back, or waits for its messages. */
  readonly #storing = new Set<Promise<unknown>>()
  #consumer: ShareConsumer | undefined
  #isPaused = false
  #hasEnded = false
  #isAwake = false
  #failures = 0
  #trouble: string | undefined
  #closed: Promise<void> | undefined

  constructor(parts: ShareSubscriptionParts) {
    const { spec, options, context } = parts
    this.#parts = parts
    this.spec = spec
    const running = spec.concurrency ?? CONCURRENCY
    this.#window = new AcquisitionWindow(Math.max(1, Math.min(spec.prefetch, running + options.acquireAhead)))
    this.#waiting = new WaitingDeliveries(context.host.clock, (due) => this.#due(due))
    this.#start()
  }

  // --- what the runtime calls --------------------------------------------------------------------------------------

  request(credit: number, bytes: number): void {
    this.#credit.add(credit, bytes)
    this.#wake()
  }

  /** What has not been handed out is given back, for other members. */
  pause(): void {
    this.#isPaused = true
    this.#limit()
    this.#giveBack(this.#takeReady())
  }

  resume(): void {
    this.#isPaused = false
    this.#wake()
  }

  async settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    if (this.#closed !== undefined) {
      const error = new StateError('The subscription is closed')
      return batch.map((_, index) => ({ index, error: error as never }))
    }
    const failures: SettlementFailure[] = []
    const verdicts: { index: number; record: ShareRecord; verdict: 'accept' | 'reject' }[] = []
    const after: AfterMessages[] = []
    for (const [index, { delivery: given, outcome }] of batch.entries()) {
      const delivery = given as ShareDelivery
      const error = refusal(delivery)
      if (error !== undefined) {
        failures.push({ index, error })
        continue
      }
      const { record } = delivery
      if (outcome.type === 'ack' && outcome.publish !== undefined && outcome.publish.length > 0)
        after.push({ index, delivery, messages: outcome.publish, verdict: 'accept' })
      else if (outcome.type === 'reject' && outcome.deadLetter !== undefined)
        after.push({ index, delivery, messages: [outcome.deadLetter], verdict: 'reject' })
      else {
        this.#settled(delivery)
        if (outcome.type === 'ack') verdicts.push({ index, record, verdict: 'accept' })
        else if (outcome.type === 'reject') verdicts.push({ index, record, verdict: 'reject' })
        else this.#return(delivery, outcome.type === 'nack' ? delivery.attempt : delivery.attempt - 1, outcome)
      }
    }
    const stored = after.length === 0 ? [] : this.#track(this.#storeFirst(after))
    failures.push(...(await this.#verdicts.give(verdicts)), ...(await stored))
    return failures
  }

  state(): SubscriptionState {
    return { standby: false, trouble: this.#trouble }
  }

  async drain(): Promise<void> {
    this.#hasEnded = true
    this.#limit()
    this.#giveBack(this.#takeReady())
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    await this.drain()
    this.#closing.abort()
    // Others wait for their messages to be stored.
    const outstanding = [...this.#outstanding.values()].filter(({ isEnding }) => !isEnding)
    for (const delivery of outstanding) {
      delivery.lost = true
      this.#settled(delivery)
    }
    const begun = outstanding.map((delivery) => delivery.again(delivery.attempt - 1, 0))
    this.#giveBack([...begun, ...this.#waiting.take(() => true)])
    await Promise.all(this.#storing)
    await this.#consumer?.close().catch((error: unknown) => this.#report(error))
    this.#verdicts.abandon('the subscription was closed')
    this.#parts.onClosed(this)
  }

  // --- the consumer ------------------------------------------------------------------------------------------------

  #start(): void {
    const { context, spec } = this.#parts
    const { client, options } = context
    const { maxBytes, maxWaitMs } = options.reader
    const consumer = client.shareConsumer({
      topics: [topicExpression(spec.topic)],
      group: shareGroupOf(context.groupId(spec.group)),
      acquireMode: 'record_limit',
      ...(maxBytes === undefined ? {} : { maxBytes }),
      ...(maxWaitMs === undefined ? {} : { maxWaitMs }),
    })
    consumer.limit(0)
    consumer.onStale((records) =>
      this.#stale(records, 'the lock of the message has expired, or its broker has forgotten it'),
    )
    consumer.onAnswered((records, error) => this.#verdicts.answered(records, error?.message))
    this.#consumer = consumer
    this.#limit()
    void this.#read(consumer)
  }

  async #read(consumer: ShareConsumer): Promise<void> {
    let last: unknown
    for (;;) {
      try {
        const { value: records } = await consumer.next()
        if (records === undefined) return
        last = undefined
        this.#failures = 0
        this.#trouble = undefined
        this.#arrived(records)
      } catch (error) {
        if (this.#closing.signal.aborted || this.#consumer !== consumer) return
        this.#report(error)
        // One that has ended says so again and again.
        if (error === last) return void this.#replace(consumer, error)
        last = error
      }
    }
  }

  /** Another one takes its place, after a pause: what kept it from being a member may have passed. */
  async #replace(consumer: ShareConsumer, error: unknown): Promise<void> {
    const { clock } = this.#parts.context.host
    this.#trouble = `its share group can't be read: ${error instanceof Error ? error.message : String(error)}`
    this.#consumer = undefined
    await consumer.close({ deadlineMs: 0 }).catch(() => {})
    const reason = 'its consumer has ended'
    this.#verdicts.abandon(reason)
    this.#takeReady()
    this.#waiting.take(() => true)
    this.#stale([...this.#outstanding.keys()], reason)
    await sleep(clock, halfRandom(growingDelay(AGAIN, this.#failures++)), this.#closing.signal).catch(() => {})
    if (!this.#closing.signal.aborted) this.#start()
  }

  #arrived(records: readonly ShareRecord[]): void {
    const { context, spec } = this.#parts
    const now = context.host.clock.now()
    const back: ShareDelivery[] = []
    for (const record of records) {
      const decoded = context.mapping.decode(record.record, record.topic, record.partition)
      const { message, group, deliverAt, used, isRemoval } = decoded
      // A redrive for another group; a line in the log of removals of a dead-letter topic.
      if ((group !== undefined && group !== spec.group) || isRemoval) {
        record.accept()
        continue
      }
      const { deliveryCount } = record
      const delivery = new ShareDelivery(record, message, {
        used: used + deliveryCount - 1,
        history: deliveryCount > 1 ? 'unknown' : 'new',
        dueAt: deliverAt ?? 0,
      })
      if (delivery.dueAt > now && deliveryCount < this.#parts.deliveryLimit - 1) this.#waiting.add(delivery)
      // Its deliveries would be used up before its time, or it came when nothing is wanted any more.
      else if (delivery.dueAt > now || this.#isPaused || this.#hasEnded) back.push(delivery)
      else this.#putReady(delivery)
    }
    this.#giveBack(back)
    this.#wake()
  }

  /** Their locks have ended: another member may have them. */
  #stale(records: readonly ShareRecord[], reason: string): void {
    const lost: ShareDelivery[] = []
    const gone = new Set(records)
    for (const record of records) {
      const delivery = this.#outstanding.get(record)
      if (delivery === undefined) continue
      delivery.lost = true
      this.#settled(delivery)
      lost.push(delivery)
    }
    this.#waiting.take(({ record }) => gone.has(record))
    for (const delivery of this.#takeReady()) if (!gone.has(delivery.record)) this.#putReady(delivery)
    if (lost.length > 0 && this.#closed === undefined) this.#parts.sink.lost(lost, reason)
    this.#limit()
  }

  // --- handing out -------------------------------------------------------------------------------------------------

  /** Something may be handed out, or acquired. Runs once per turn, however often it is called. */
  #wake(): void {
    if (this.#isAwake) return
    this.#isAwake = true
    queueMicrotask(() => {
      this.#isAwake = false
      this.#handOut()
      this.#limit()
    })
  }

  #handOut(): void {
    if (this.#isPaused || this.#hasEnded) return
    const batch: ShareDelivery[] = []
    let taken = 0
    for (; taken < this.#ready.length && this.#credit.isLeft; taken++) {
      const delivery = this.#ready[taken] as ShareDelivery
      this.#credit.spend(delivery.bytes)
      this.#outstanding.set(delivery.record, delivery)
      batch.push(delivery)
    }
    if (taken === 0) return
    this.#ready.splice(0, taken)
    this.#parts.sink.receive(batch)
  }

  /** The client acquires no more than may be handed out soon. What waits for its time is acquired, too. */
  #limit(): void {
    const active = this.#outstanding.size + this.#ready.length
    const mayAcquire =
      !this.#isPaused &&
      !this.#hasEnded &&
      this.#credit.isLeft &&
      this.#waiting.size < MAX_WAITING &&
      this.#waiting.bytes < this.spec.prefetchBytes
    const wanted = mayAcquire ? Math.min(this.#window.size, active + this.#credit.messages) : 0
    this.#consumer?.limit(wanted === 0 ? 0 : this.#waiting.size + wanted)
    if (this.#waiting.size >= MAX_WAITING || this.#waiting.bytes >= this.spec.prefetchBytes)
      this.#parts.context.reports.warnOnce(
        'delayed-full',
        `this process holds so many messages of group "${this.spec.group}" of "${this.spec.topic}" that wait for their time that it takes no more until some are due`,
      )
  }

  #putReady(delivery: ShareDelivery): void {
    this.#ready.push(delivery)
    this.#window.began(delivery.isSuspect)
  }

  #takeReady(): readonly ShareDelivery[] {
    const ready = this.#ready
    this.#ready = []
    for (const { isSuspect } of ready) this.#window.ended(isSuspect)
    return ready
  }

  /** Their time has come. */
  #due(due: readonly ShareDelivery[]): void {
    if (this.#isPaused || this.#hasEnded) return this.#giveBack(due)
    for (const delivery of due) this.#putReady(delivery)
    this.#wake()
  }

  // --- settling ----------------------------------------------------------------------------------------------------

  #settled(delivery: ShareDelivery): void {
    delivery.settled = true
    this.#outstanding.delete(delivery.record)
    this.#window.ended(delivery.isSuspect)
    this.#wake()
  }

  /** A retry waits here. What was released goes to other members, unless it only waits for its time. */
  #return(
    delivery: ShareDelivery,
    used: number,
    outcome: { readonly type: 'nack' | 'release'; readonly delayMs: number },
  ): void {
    const dueAt = outcome.delayMs > 0 ? this.#parts.context.host.clock.now() + outcome.delayMs : 0
    const again = delivery.again(used, dueAt)
    const isOver = this.#isPaused || this.#hasEnded
    if (isOver || (outcome.type === 'release' && dueAt === 0)) return this.#giveBack([again])
    if (dueAt > 0) this.#waiting.add(again)
    else this.#putReady(again)
    this.#wake()
  }

  /** Never rejects. What can't be stored leaves its source as it is. */
  async #storeFirst(after: readonly AfterMessages[]): Promise<readonly SettlementFailure[]> {
    const failures: SettlementFailure[] = []
    for (const { delivery } of after) delivery.isEnding = true
    const outcomes = await this.#parts.publish(after.flatMap(({ messages }) => messages))
    const verdicts: { index: number; record: ShareRecord; verdict: 'accept' | 'reject' }[] = []
    let at = 0
    for (const { index, delivery, messages, verdict } of after) {
      const own = outcomes.slice(at, at + messages.length)
      at += messages.length
      delivery.isEnding = false
      const error: PublishError | SettlementError | undefined =
        own.find((outcome) => outcome.error !== undefined)?.error ?? refusal(delivery)
      if (error !== undefined) {
        failures.push({ index, error })
        continue
      }
      this.#settled(delivery)
      verdicts.push({ index, record: delivery.record, verdict })
    }
    failures.push(...(await this.#verdicts.give(verdicts)))
    return failures
  }

  /** They are no longer counted among those that wait or are handed out. */
  #giveBack(deliveries: readonly ShareDelivery[]): void {
    if (deliveries.length === 0) return
    const { context, deliveryLimit, publish } = this.#parts
    const host: GiveBackHost = {
      now: () => context.host.clock.now(),
      group: this.spec.group,
      deliveryLimit,
      publish,
      failed: (error) => this.#report(error),
    }
    void this.#track(giveBack(host, deliveries))
  }

  /** A close waits for it. */
  #track<T>(storing: Promise<T>): Promise<T> {
    this.#storing.add(storing)
    void storing.finally(() => this.#storing.delete(storing))
    return storing
  }

  #report(error: unknown): void {
    this.#parts.context.reports.error(error, `reading for share group "${this.spec.group}"`)
  }
}

function refusal({ lost, settled }: ShareDelivery): SettlementError | undefined {
  if (lost) return new SettlementError('The delivery was taken back; the message is delivered again')
  if (settled) return new SettlementError('The delivery has been settled before')
  return undefined
}
