import {
  bodyBytes,
  compilePattern,
  ConnectionState,
  CreditBalance,
  OpenedOnce,
  PublishError,
  SettlementError,
  tooLarge,
} from 'busbar/transport'
import type {
  Capabilities,
  Delivery,
  DeliveryHistory,
  DeliverySink,
  EncodedMessage,
  OutgoingMessage,
  PublishOutcome,
  Settlement,
  SettlementFailure,
  SubscriptionSpec,
  Transport,
  TransportSubscription,
} from 'busbar/transport'

/** Claim only what the transport can do. The bus refuses the rest with an explanation, and the suite skips it with a reason. */
const CAPABILITIES: Capabilities = {
  durable: false,
  groups: true,
  ordering: 'none',
  orderedRedelivery: false,
  delay: 'none',
  redelivery: true,
  attempts: true,
  patterns: true,
  replay: [],
  lag: false,
  publishDedup: false,
  failedPublishStopsKey: false,
  publishOnAck: false,
  atomicDeadLetters: true,
  transactions: false,
  tombstones: true,
  requestReply: false,
  maxMessageBytes: 1_048_576,
}
const MAX_WAITING = 100_000

interface Item {
  readonly message: EncodedMessage
  readonly number: number
  /** Attempts used up. */
  used: number
  wasOut: boolean
  /** The runtime waits until then, because this broker can't. */
  notBefore: number | undefined
}

/** A delivery of this transport. `runtime` is reserved for the bus. */
class LoopbackDelivery implements Delivery {
  readonly item: Item
  attempt: number
  readonly history: DeliveryHistory
  readonly notBefore: number | undefined
  lost = false
  settled = false
  runtime: unknown = undefined

  constructor(item: Item) {
    this.item = item
    this.attempt = item.used + 1
    this.history = item.wasOut ? 'returned' : 'new'
    this.notBefore = item.notBefore
    item.wasOut = true
  }

  get message(): EncodedMessage {
    return this.item.message
  }
  get bytes(): number {
    return bodyBytes(this.item.message)
  }
  get position(): { readonly number: number } {
    return { number: this.item.number }
  }
}

/** State shared by the members of a group. Here it is in this process; normally the broker has it. */
class Group {
  readonly members: Subscription[] = []
  readonly matches: (topic: string) => boolean
  readonly waiting: Item[] = []
  #scheduled = false

  constructor(topic: string) {
    this.matches = compilePattern(topic)
  }

  /** Runs in a later turn: never call a sink from inside `request`, `settle` or `publish`. */
  wake(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      for (let idle = 0; idle < this.members.length && this.waiting.length > 0;) {
        const member = this.members.shift() as Subscription
        this.members.push(member)
        if (member.take()) idle = 0
        else idle++
      }
    })
  }
}

export class LoopbackBroker {
  readonly groups: Map<string, Group> = new Map()
  #number = 0

  store(message: OutgoingMessage): PublishOutcome {
    // Counts the body and the user's headers: what Busbar adds to a dead letter must not make it too large.
    const error = tooLarge(message, CAPABILITIES.maxMessageBytes, 'loopback')
    if (error !== undefined) return { error }
    const groups = [...this.groups].filter(
      ([name, group]) => group.matches(message.topic) && (message.group ?? nameOf(name)) === nameOf(name),
    )
    if (groups.some(([, group]) => group.waiting.length >= MAX_WAITING))
      return { error: new PublishError('A group is too far behind', { outcome: 'not-sent', retryable: true }) }
    const number = ++this.#number
    // A copy: the publisher may reuse its buffer once the promise has resolved.
    const stored: EncodedMessage = { ...message, body: message.body?.slice() ?? null }
    for (const [, group] of groups) {
      group.waiting.push({ message: stored, number, used: 0, wasOut: false, notBefore: undefined })
      group.wake()
    }
    return { position: { number } }
  }
}

class Subscription implements TransportSubscription {
  readonly #broker: LoopbackBroker
  readonly #name: string
  readonly #group: Group
  readonly #sink: DeliverySink
  readonly #ephemeral: boolean
  readonly #outstanding = new Set<LoopbackDelivery>()
  readonly #credit = new CreditBalance()
  #paused = false
  #closed = false

  constructor(broker: LoopbackBroker, spec: SubscriptionSpec, sink: DeliverySink) {
    this.#broker = broker
    this.#name = `${spec.group} ${spec.topic}`
    this.#ephemeral = spec.ephemeral
    this.#sink = sink
    this.#group = broker.groups.get(this.#name) ?? new Group(spec.topic)
    broker.groups.set(this.#name, this.#group)
    this.#group.members.push(this)
  }

  /** Delivers one message, if there is credit for it. */
  take(): boolean {
    if (this.#paused || this.#closed || !this.#credit.isLeft) return false
    const item = this.#group.waiting.shift()
    if (item === undefined) return false
    const delivery = new LoopbackDelivery(item)
    this.#credit.spend(delivery.bytes)
    this.#outstanding.add(delivery)
    this.#sink.receive([delivery])
    return true
  }

  request(credit: number, bytes: number): void {
    this.#credit.add(credit, bytes)
    this.#group.wake()
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#group.wake()
  }

  async settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    const failures: SettlementFailure[] = []
    for (const [index, { delivery, outcome }] of batch.entries()) {
      const own = delivery as LoopbackDelivery
      if (own.lost || own.settled) {
        failures.push({ index, error: new SettlementError('The delivery is not ours any more') })
        continue
      }
      // Store the dead letter first: if that fails, its source must stay.
      if (outcome.type === 'reject' && outcome.deadLetter !== undefined) {
        const { error } = this.#broker.store(outcome.deadLetter)
        if (error !== undefined) {
          failures.push({ index, error })
          continue
        }
      }
      own.settled = true
      this.#outstanding.delete(own)
      if (outcome.type === 'release' || outcome.type === 'nack')
        this.#giveBack(own, outcome.type === 'nack', outcome.delayMs)
    }
    return failures
  }

  async drain(): Promise<void> {
    this.#closed = true
  }

  async close(): Promise<void> {
    this.#closed = true
    const at = this.#group.members.indexOf(this)
    if (at < 0) return
    this.#group.members.splice(at, 1)
    for (const delivery of [...this.#outstanding].reverse()) {
      delivery.lost = true
      this.#giveBack(delivery, false, 0)
    }
    this.#outstanding.clear()
    if (this.#ephemeral) this.#broker.groups.delete(this.#name)
  }

  #giveBack({ item, attempt, notBefore }: LoopbackDelivery, failed: boolean, delayMs: number): void {
    item.used = failed ? attempt : attempt - 1
    item.notBefore = delayMs > 0 ? Date.now() + delayMs : notBefore
    this.#group.waiting.unshift(item)
    this.#group.wake()
  }
}

/** Transports that share one broker exchange messages. */
export function loopback(broker: LoopbackBroker): Transport {
  const subscriptions = new Set<Subscription>()
  const once = new OpenedOnce<ConnectionState>('loopback')
  return {
    system: 'loopback',
    capabilities: CAPABILITIES,
    async open(host) {
      const connection = await once.open(
        () => new ConnectionState(host),
        async () => {}, // normally: connect, and state each loss with connection.down()
      )
      connection.up()
    },
    async publish(batch) {
      once.get()
      return batch.map((message) => broker.store(message))
    },
    async subscribe(spec, sink) {
      once.get()
      const subscription = new Subscription(broker, spec, sink)
      subscriptions.add(subscription)
      return subscription
    },
    health: () => ({ connected: once.isOpen && once.get().isUp }),
    async close() {
      const connection = once.close()
      for (const subscription of subscriptions) await subscription.close()
      connection?.close()
    },
  }
}

/** The group in a stored name of group and topic: one group may read several topics. */
function nameOf(name: string): string {
  return name.slice(0, name.indexOf(' '))
}
