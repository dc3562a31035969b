import type { Clock } from './clock.ts'
import type { SettlementError, PublishError } from './errors.ts'
import type { BusEvents } from './events.ts'
import type { Logger } from './logger.ts'
import type { EncodedMessage, OutgoingMessage } from './message.ts'

/**
 * What a transport can do, declared once. It drives the checks at `start()`, the scenarios of the conformance suite and
 * the table in the docs, so a claim that is not true fails a test.
 */
export interface Capabilities {
  /** Confirmed messages survive the end of every process of ours (and of the broker, where there is one). */
  readonly durable: boolean
  /** Consumer groups: members share the messages, each group gets all. */
  readonly groups: boolean
  /** Broadest unit in which order is kept across all members of a group: nothing, the whole topic only, or each key. */
  readonly ordering: 'none' | 'topic' | 'key'
  /** A delivery that was nacked with a delay holds back later messages of its key, in every member of the group. */
  readonly orderedRedelivery: boolean
  /** Delayed publish and delayed nack: kept by the broker, made by the transport out of other means, or not at all. */
  readonly delay: 'native' | 'emulated' | 'none'
  /** What was delivered and not acked is delivered again. */
  readonly redelivery: boolean
  /** `Delivery.attempt` counts deliveries also across the death of processes. */
  readonly attempts: boolean
  /** Wildcard subscriptions. */
  readonly patterns: boolean
  /** A group may start, or be set back, to a position, an instant, both or neither. */
  readonly replay: readonly ('position' | 'time')[]
  /** The transport can tell the lag of a group. */
  readonly lag: boolean
  /** Publishing the same id twice within the broker's window stores it once. */
  readonly publishDedup: boolean
  /** Publishing and settling can be made one atomic step; dead-lettering then is. */
  readonly transactions: boolean
  /** Native request/reply. */
  readonly requestReply: boolean
  /** Largest body plus headers, in bytes. */
  readonly maxMessageBytes: number
}

/** What the bus lends to its transports. */
export interface TransportHost {
  readonly service: string
  /** Unique to this bus in this process. */
  readonly instanceId: string
  readonly clock: Clock
  readonly events: BusEvents
  readonly logger: Logger
  /** The name that the user gave the transport: `main`, `local`. */
  readonly name: string
}

/** The transport's own coordinates of a message: `{ partition: 3, offset: '42' }`. Plain data, fit for a log line. */
export type Position = Readonly<Record<string, string | number>>

/** Fate of one message of a batch: it was confirmed, or it was not and the error says how sure that is. */
export type PublishOutcome =
  | { readonly position: Position | undefined; readonly error?: undefined }
  | { readonly error: PublishError; readonly position?: undefined }

/** Where a group starts that the transport has not seen before. */
export type StartFrom = 'earliest' | 'latest' | { readonly timeMs: number } | { readonly position: Position }

export interface SubscriptionSpec {
  /** A topic name or pattern, checked and in its normal spelling (`>`, never `#`). */
  readonly topic: string
  readonly group: string
  /**
   * `key`: deliveries of one key must not be outstanding at two members of the group at once, and arrive in order of
   * publication. `strict`: same for the whole topic. `none`: as the broker likes.
   */
  readonly order: 'none' | 'key' | 'strict'
  /** The group is for this one subscription and is to be forgotten with it (broadcast). */
  readonly ephemeral: boolean
  /** Applies when the group is new. */
  readonly from: StartFrom
  /** Most unsettled deliveries that credit will ever allow: a hint for the broker's own prefetch. */
  readonly prefetch: number
  readonly prefetchBytes: number
  /**
   * Largest number of unsettled deliveries of one key (of the whole topic with `strict`). A transport that picks messages by
   * key passes over a key of which the member holds that many, so that a hot key leaves room for others. Where keys share
   * a partition that is read in order, the transport bounds the share of each partition instead.
   */
  readonly maxPerKey: number
  /** Unique name of this subscription, for lists of members. */
  readonly consumerId: string
  /** The transport's own options for this one consumer, unchecked by the runtime. */
  readonly native?: unknown
}

/**
 * What became of the earlier deliveries of a message to this group.
 *
 * - `new`: there was none.
 * - `returned`: each of them is accounted for: its attempt failed, it was handed back, or a process that is still alive
 *   lost it with a lease or a connection.
 * - `unknown`: one of them ended without a word, as when its process died, and nothing says that a handler had started.
 * - `died`: a handler had started, and its process ended before the handler did. The message may have ended the process.
 */
export type DeliveryHistory = 'new' | 'returned' | 'unknown' | 'died'

/** One attempt to hand a message to one subscription. Settled exactly once, through `TransportSubscription.settle`. */
export interface Delivery {
  readonly message: EncodedMessage
  /**
   * The attempt that comes next: 1 plus the attempts that are used up. Only a handler that started uses one; being handed
   * out, prefetched, released or lost by a living process does not. Counts across processes where the capability `attempts`
   * says so. The runtime raises it with each attempt that it makes here ("inline"), so that what the transport hands
   * back, or notes, goes on counting from there.
   */
  attempt: number
  readonly history: DeliveryHistory
  /**
   * No handler may start before this instant (ms since 1970), and later messages of the key wait too. Set for a message that
   * was handed back `inOrder` with a delay, or noted as waiting, by a transport that can't hold back a key by itself.
   */
  readonly notBefore?: number | undefined
  readonly position: Position
  /** When the message was first handed to anybody of this group (ms since 1970), where the transport knows. */
  readonly firstDeliveredAt?: number | undefined
  /** Size that counts against the credit in bytes. */
  readonly bytes: number
  /** The transport took it back (lease, channel, partition gone); settling it will be refused. */
  readonly lost: boolean
  /** The runtime's own note. A transport sets it to undefined at birth and never looks at it. */
  runtime: unknown
}

/**
 * - `ack`: done.
 * - `nack`: failed; deliver again no sooner than `delayMs` from now. `delivery.attempt` attempts are used up.
 * - `release`: hand back; `delivery.attempt - 1` attempts are used up. `delayMs` as above.
 *
 * With `inOrder`, the message comes back before any later one of its key, whatever `delayMs` is: without the capability
 * `orderedRedelivery` the transport delivers it again at once with `notBefore` set, and the runtime waits. Without `inOrder`
 * later messages of the key may overtake it there.
 * - `reject`: settle for ever. When `deadLetter` is given, it must be confirmed **before** the source is acked (atomically
 *   where the capability `transactions` is set); undefined means drop.
 */
export type Outcome =
  | { readonly type: 'ack' }
  | { readonly type: 'nack'; readonly delayMs: number; readonly inOrder?: boolean | undefined }
  | { readonly type: 'release'; readonly delayMs: number; readonly inOrder?: boolean | undefined }
  | { readonly type: 'reject'; readonly deadLetter: OutgoingMessage | undefined }

export interface Settlement {
  readonly delivery: Delivery
  readonly outcome: Outcome
}

/** Something to remember about a delivery that is not settled yet, for whoever gets the message if this process dies. */
export interface AttemptNote {
  readonly delivery: Delivery
  /** Attempts that are used up, including one that is running. */
  readonly used: number
  /**
   * A handler is running. If nothing more is heard of the delivery, its process died of it or beside it: the next
   * delivery has the history `died`. False: the message waits for its next attempt (`returned`).
   */
  readonly running: boolean
  /** The next attempt must not start before this instant, in ms since 1970. */
  readonly notBefore: number | undefined
}

export interface SettlementFailure {
  /** Index into the batch that was given to `settle`. */
  readonly index: number
  readonly error: SettlementError | PublishError
}

/** What the runtime gives to a subscription. Neither method throws. */
export interface DeliverySink {
  /** Takes over the deliveries. Never more than were requested, never after `pause()`, `drain()` or `close()` resolved. */
  receive(batch: readonly Delivery[]): void
  /**
   * These outstanding deliveries were taken back; the transport has set `lost` on them before the call. What a lost
   * connection or lease takes along is reported here in one call, before `settle` answers for any of it: otherwise a key could
   * go on while its earlier messages are on their way back.
   */
  lost(deliveries: readonly Delivery[], reason: string): void
}

export interface SubscriptionState {
  /** A member without a share: the group has more members than partitions. Healthy, and never stalled. */
  readonly standby: boolean
  /** What keeps messages from arriving although they should, for people: "its queue was deleted and can't be declared: …". */
  readonly trouble?: string | undefined
}

export interface TransportSubscription {
  /**
   * How long an outstanding delivery stays ours without `extend`, in ms; undefined when for as long as the session
   * lives. The runtime extends everything outstanding in good time.
   */
  readonly leaseMs?: number | undefined
  /**
   * Allows that many more deliveries, and bytes. Both add up over calls. A transport never hands over more deliveries
   * than were requested; of bytes it may overshoot by one message (or, where the broker can't count bytes, must say so
   * in its page).
   */
  request(credit: number, bytes: number): void
  /** Until `resume()`, no delivery arrives; credit is kept. */
  pause(): void
  resume(): void
  /**
   * Settles a batch in one go, in the given order. Resolves when the broker has taken it, with those that failed.
   * A `lost` delivery fails with a `SettlementError`; so does an ack that the broker may not have read when its connection
   * ended. The runtime remembers what it handled, and acks that again without its handler. Never rejects.
   *
   * After a `nack` or `release` with capability `orderedRedelivery` resolved, no later message of its key arrives before it.
   */
  settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]>
  /** Renews the lease of outstanding deliveries. Present when `leaseMs` is set. Those that can't be renewed are reported lost. */
  extend?(deliveries: readonly Delivery[]): Promise<void>
  /**
   * Stores notes about unsettled deliveries at the broker; resolves when they would survive the death of this process, rejects
   * when they can't be stored. Notes take effect in the order of the calls, and a later one about a delivery replaces the one before.
   * The runtime calls it
   *
   * - before it starts a handler for a message whose history is `unknown` or `died`, and waits for the answer;
   * - for a handler that has been running for a moment, without waiting: short ones cost nothing;
   * - when an attempt has failed and the next one will be made here (`running: false`, with its `notBefore`);
   * - for a `lost` delivery whose running handler had been noted: this process lives, so the attempt is not used. A
   *   transport does what it still can.
   *
   * Absent where the broker has no place for notes; `attempts` is false then.
   */
  noteAttempts?(notes: readonly AttemptNote[]): Promise<void>
  /**
   * Messages that could be delivered to this very member now: of its own partitions, not of those that others read.
   * Undefined when unknown. Absent where every member may get every message: then the group's own count is right.
   */
  readyHere?(): Promise<number | undefined>
  /** How this member stands. Absent: it always has a share of the group's messages. */
  state?(): SubscriptionState
  /** Stops intake at once and for good. Outstanding deliveries can still be settled. */
  drain(): Promise<void>
  /**
   * Drains, gives up what is unsettled (it is delivered again, soon, without having used an attempt), and releases the
   * resources. Safe to call twice.
   */
  close(): Promise<void>
}

export interface TransportHealth {
  readonly connected: boolean
  /** Why not, or what is wrong all the same (`disk full`). */
  readonly detail?: string | undefined
}

export interface TopicInfo {
  readonly topic: string
  /** Messages stored, where the broker can tell. */
  readonly messages: number | undefined
  readonly bytes: number | undefined
  readonly oldestAt: number | undefined
}

export interface GroupInfo {
  readonly topic: string
  readonly group: string
  /** Published and not yet acked by the group: waiting, delayed, and in flight. */
  readonly lag: number | undefined
  readonly inFlight: number | undefined
  /** Of the lag, what could be delivered right now: not delayed, not in flight, not behind an unsettled one of its key. */
  readonly ready?: number | undefined
  readonly members: number | undefined
  /** Publish time of the oldest message not acked, in ms since 1970; undefined when there is none or the broker can't tell. */
  readonly oldestUnackedAt: number | undefined
}

export interface StoredMessage {
  readonly message: EncodedMessage
  readonly position: Position
}

/** Looking after topics and groups. Every method is for people and tools, not for the hot path. */
export interface TransportAdmin {
  /** Creates what the topic needs on the broker, if it needs anything. Idempotent. */
  ensureTopic(topic: string): Promise<void>
  topics(): Promise<readonly TopicInfo[]>
  /** Groups of one topic, or of all. */
  groups(topic?: string): Promise<readonly GroupInfo[]>
  /** Moves a group. Its outstanding deliveries are lost. Throws `UnsupportedError` where there is no replay. */
  seek(topic: string, group: string, to: StartFrom): Promise<void>
  /** Reads stored messages in order without touching any group: those after the position, or from the start. */
  read(
    topic: string,
    options: { readonly after?: Position | undefined; readonly limit: number },
  ): Promise<readonly StoredMessage[]>
  /** Deletes single stored messages; resolves with how many there were. */
  remove(topic: string, positions: readonly Position[]): Promise<number>
  /** Deletes all stored messages of a topic; resolves with how many there were where the broker can tell. */
  purge(topic: string): Promise<number | undefined>
  /** Forgets a group of a topic with its place and pending messages. */
  deleteGroup(topic: string, group: string): Promise<void>
}

/**
 * A broker behind one contract. All methods but `open` require an open transport.
 *
 * Whoever implements it: prove it with `conformance()` of `busbar/testing`.
 */
export interface Transport {
  /** OpenTelemetry's `messaging.system`: `kafka`, `rabbitmq`, `nats`, `redis`, `sqlite`, `memory`. */
  readonly system: string
  readonly capabilities: Capabilities
  /**
   * Connects. Rejects with `ConnectionError` or `AuthorizationError` when that fails now; nothing stays open then, and it may
   * be called again: the bus does so while the error is retryable. After it resolved once, the transport reconnects by
   * itself for as long as it is open, and says so in events.
   */
  open(host: TransportHost): Promise<void>
  /**
   * Publishes a batch, in order within a key, and resolves with one outcome for each message, at the same index, only
   * after the broker's durable confirmation. A message that has to wait longer than its neighbours (its topic is full) may
   * have a promise for its outcome, so that they don't wait for it. Neither kind ever rejects for a broker's fault;
   * `signal` aborts the wait: what is not confirmed then fails with outcome `unknown` (or `not-sent` when it certainly was not).
   * The runtime listens for the rest of that turn of the event loop, and takes what has no outcome by then for `unknown`.
   */
  publish(
    batch: readonly OutgoingMessage[],
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<readonly (PublishOutcome | Promise<PublishOutcome>)[]>
  /**
   * Creates or joins the group. Nothing is delivered before `request`. A group that is deleted while it has members is made
   * again at its position; where that can't be done, the subscription says so in its `state`.
   */
  subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<TransportSubscription>
  readonly admin?: TransportAdmin | undefined
  health(): TransportHealth
  /** Closes subscriptions and connections within the deadline (default 5,000 ms), by force at its end. Safe to call twice. */
  close(options?: { readonly deadlineMs?: number | undefined }): Promise<void>
}
