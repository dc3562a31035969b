// Longer than most files: the contract of transports in one place, most of it documentation.
import type { Clock } from './clock.ts'
import type { SettlementError, PublishError } from './errors.ts'
import type { BusEvents } from './events.ts'
import type { Logger } from './logger.ts'
import type { EncodedMessage, OutgoingMessage, Position } from './message.ts'

/**
 * What a transport can do. Drives the checks when a consumer is added, the scenarios of the conformance suite and the table in
 * the docs, so a false claim fails a test.
 */
export interface Capabilities {
  /** Confirmed messages survive the end of all our processes, and of the broker if there is one. */
  readonly durable: boolean
  /** Consumer groups: each group gets all messages, and its members share them. */
  readonly groups: boolean
  /** Order kept across all members of a group: none, only that of the whole topic, or that of each key. */
  readonly ordering: 'none' | 'topic' | 'key'
  /** A delivery nacked with a delay holds back later messages of its key, in every member of the group. */
  readonly orderedRedelivery: boolean
  /** Delayed publish and delayed nack: native to the broker, emulated by the transport, or not available. */
  readonly delay: 'native' | 'emulated' | 'none'
  /** Messages that were delivered but not acked are delivered again. */
  readonly redelivery: boolean
  /** `Delivery.attempt` keeps counting when a process dies. */
  readonly attempts: boolean
  /** Wildcard subscriptions. */
  readonly patterns: boolean
  /** Whether a group can start at, or be moved to, a position, a time, both or neither. */
  readonly replay: readonly ('position' | 'time')[]
  /** The transport can report the lag of a group. */
  readonly lag: boolean
  /** Publishing the same id from the same source twice within the broker's deduplication window stores it once. */
  readonly publishDedup: boolean
  /**
   * A message that is not published fails those of its key that were passed on after it and have no outcome yet, in the same
   * batch and in later ones: none of them overtakes it when it is sent again. Without it, a sender that must keep the order of a
   * key waits for each outcome before it sends the next.
   */
  readonly failedPublishStopsKey: boolean
  /** An ack may carry messages: they are stored, and the ack applied, in one atomic step. */
  readonly publishOnAck: boolean
  /** A dead letter is stored, and its source settled, in one atomic step. */
  readonly atomicDeadLetters: boolean
  /** Messages of any topics can be published in one atomic step: the transport has `transaction`. */
  readonly transactions: boolean
  /**
   * A message may have no body (`EncodedMessage.body` is null), and arrives so. Without it, the bus publishes `null` as the codec
   * writes it, and refuses encoded messages without a body.
   */
  readonly tombstones: boolean
  /** The broker carries requests and their replies: the transport has `requestReply`. */
  readonly requestReply: boolean
  /** Maximum size of body plus headers, in bytes. Dead letters and copies for one `group` may be larger, up to what the broker takes. */
  readonly maxMessageBytes: number
}

/** What the bus provides to its transports. */
export interface TransportHost {
  readonly service: string
  /** Unique to this bus in this process. */
  readonly instanceId: string
  readonly clock: Clock
  readonly events: BusEvents
  readonly logger: Logger
  /** The user's name for the transport: `main`, `local`. */
  readonly name: string
}

/** Result of one message of a batch: confirmed, or an error whose `outcome` says whether the broker may have it. */
export type PublishOutcome =
  | { readonly position: Position | undefined; readonly error?: undefined }
  | { readonly error: PublishError; readonly position?: undefined }

/** Where a new group starts. */
export type StartFrom = 'earliest' | 'latest' | { readonly timeMs: number } | { readonly position: Position }

/** An event that a subscription takes. A message without a version has version 1. */
export interface EventFilter {
  readonly topic: string
  readonly type: string
  readonly version: number
}

/** What a consumer subscribes to, and how. */
export interface SubscriptionSpec {
  /** A topic name or pattern, already checked, in its normal spelling (`>`, never `#`). */
  readonly topic: string
  readonly group: string
  /**
   * `key`: deliveries of one key arrive in the order of publication, and are never outstanding at two members of the group at
   * once. `strict`: same for the whole topic. `none`: any order.
   */
  readonly order: 'none' | 'key' | 'strict'
  /** The group belongs to this one subscription and is deleted with it (broadcast). */
  readonly ephemeral: boolean
  /** Where the group starts if it is new. */
  readonly from: StartFrom
  /** Maximum number of unsettled deliveries that credit will ever allow: a hint for the broker's prefetch. */
  readonly prefetch: number
  readonly prefetchBytes: number
  /**
   * How many messages its handlers take at once: a hint for a transport that must not take messages long before they are
   * handled. Undefined when unknown.
   */
  readonly concurrency?: number | undefined
  /**
   * After how many attempts the runtime dead-letters a message: a hint for a transport whose broker has a limit of its own. It
   * rejects with `UnsupportedError` where the two don't go together. Undefined when unknown.
   */
  readonly attempts?: number | undefined
  /**
   * Maximum number of unsettled deliveries of one key (of the whole topic with `strict`). A transport that picks messages by
   * key skips a key once the member holds this many, so that a hot key leaves room for others. Where keys share a partition
   * that is read in order, the transport bounds the share of each partition instead.
   */
  readonly maxPerKey: number
  /**
   * Set when the consumer takes these events alone: it acks every other message without a handler. A transport may leave those
   * out of what it delivers, or some of them. To the group, a message that was left out is one that was acked: it does not count
   * as lag, it holds up no other, and it does not come later, whatever a later member of the group takes. A transport that can't
   * make sure of that, or can't filter, delivers all; nothing is ever lost by that.
   *
   * Members of a group may differ while a new version is rolled out; each has its own list.
   */
  readonly events?: readonly EventFilter[] | undefined
  /** Unique name of this subscription, used in lists of members. */
  readonly consumerId: string
  /**
   * Set when what its handlers publish must be stored exactly once: it comes with their acks (`Outcome`). Only with the capability
   * `publishOnAck`. A transport whose own options rule that out rejects with `UnsupportedError`.
   */
  readonly guarantee?: 'exactly-once' | undefined
  /** The transport's options for this consumer, not checked by the runtime. */
  readonly native?: unknown
}

/**
 * How the earlier deliveries of a message to this group ended.
 *
 * - `new`: there were none.
 * - `returned`: each one is accounted for: its attempt failed, it was released, or a process that is still alive lost it with a
 *   lease or a connection.
 * - `unknown`: one ended without a report, as when its process dies, and nothing shows that a handler had started.
 * - `died`: a handler had started, and its process ended before the handler did. The message may have killed the process.
 */
export type DeliveryHistory = 'new' | 'returned' | 'unknown' | 'died'

/** One delivery of a message to one subscription. Settled exactly once, through `TransportSubscription.settle`. */
export interface Delivery {
  readonly message: EncodedMessage
  /**
   * Number of the next attempt: 1 plus the attempts used up. Only a handler that started uses an attempt; being delivered,
   * prefetched, released, or lost by a living process does not. Counts across processes with the capability `attempts`. The
   * runtime increments it with each attempt that it makes in this process ("inline"), so that a transport that returns or notes
   * the delivery continues counting from there.
   */
  attempt: number
  readonly history: DeliveryHistory
  /**
   * No handler may start before this time (ms since 1970), and later messages of the key wait too. Set by a transport that
   * can't hold back a key by itself, for a message that was returned `inOrder` with a delay, or noted as waiting.
   */
  readonly notBefore?: number | undefined
  readonly position: Position
  /**
   * The broker's name for where the message came from, as OpenTelemetry's `messaging.destination.name` wants it: the key of a
   * stream, a subject, `{exchange}:{routing key}:{queue}`. Absent where that is the topic.
   */
  readonly destination?: string | undefined
  /** Name of the partition that it came from, as in `rebalance` events. Absent in a transport without partitions. */
  readonly partition?: string | undefined
  /** When the message was first delivered to any member of this group (ms since 1970), if the transport knows. */
  readonly firstDeliveredAt?: number | undefined
  /** Size that counts against the byte credit. */
  readonly bytes: number
  /** The transport took it back, because its lease, channel or partition was lost; settling it fails. */
  readonly lost: boolean
  /** Reserved for the runtime. A transport initializes it to undefined and never reads it. */
  runtime: unknown
}

/**
 * - `ack`: done. With `publish` (only with the capability `publishOnAck`), these messages are stored and the ack applied in one
 *   atomic step, or neither; then the delivery stays outstanding, and the runtime settles it again. Who can't know which of the
 *   two has happened finds out before it answers, or takes the delivery back (`lost`): never is it settled twice.
 * - `nack`: failed; deliver again after at least `delayMs`. `delivery.attempt` attempts are used up.
 * - `release`: return without handling; `delivery.attempt - 1` attempts are used up. `delayMs` as above.
 *
 * With `inOrder`, the message comes back before any later one of its key, whatever `delayMs` is. Without the capability
 * `orderedRedelivery`, that holds from the call of `settle` on; the transport delivers the message again at once with
 * `notBefore` set, and the runtime waits. Without `inOrder` (and without that capability), later messages of the key may
 * overtake it.
 * - `reject`: settle for good. A given `deadLetter` must be confirmed **before** the source is acked (atomically with the
 *   capability `atomicDeadLetters`); undefined means drop.
 */
export type Outcome =
  | { readonly type: 'ack'; readonly publish?: readonly OutgoingMessage[] | undefined }
  | { readonly type: 'nack'; readonly delayMs: number; readonly inOrder?: boolean | undefined }
  | { readonly type: 'release'; readonly delayMs: number; readonly inOrder?: boolean | undefined }
  | { readonly type: 'reject'; readonly deadLetter: OutgoingMessage | undefined }

/** A delivery and its outcome. */
export interface Settlement {
  readonly delivery: Delivery
  readonly outcome: Outcome
}

/** What the broker should remember about an unsettled delivery, for the member that gets the message if this process dies. */
export interface AttemptNote {
  readonly delivery: Delivery
  /** Attempts used up, including a running one. */
  readonly used: number
  /**
   * True: a handler is running. If no settlement or note follows, the process died during it, and the next delivery has the
   * history `died`. False: the message waits for its next attempt (`returned`).
   */
  readonly running: boolean
  /** The next attempt must not start before this time, in ms since 1970. */
  readonly notBefore: number | undefined
}

/** A settlement that the broker did not accept. */
export interface SettlementFailure {
  /** Index in the batch passed to `settle`. */
  readonly index: number
  readonly error: SettlementError | PublishError
}

/** The runtime's side of a subscription. No method throws. */
export interface DeliverySink {
  /**
   * Accepts deliveries. The transport never passes more than were requested, and none after `pause()` or after `drain()` or
   * `close()` resolved.
   */
  receive(batch: readonly Delivery[]): void
  /**
   * Reports outstanding deliveries that were taken back; the transport has set `lost` on them before the call. All deliveries
   * of one lost connection or lease are reported in one call, before `settle` answers for any of them: otherwise a key could
   * continue while its earlier messages are on their way back.
   */
  lost(deliveries: readonly Delivery[], reason: string): void
  /**
   * Asks for deliveries that have waited for too long. The runtime releases those that wait for their first turn or for a free
   * handler, in this order; it keeps those that have started or wait for a retry. Until those that were released have come
   * back, the transport must hand out no later message of their keys: that one would overtake them.
   */
  recall(deliveries: readonly Delivery[]): void
}

/** State of one member of a group. */
export interface SubscriptionState {
  /** This member has no share of the messages, because the group has more members than partitions. Healthy, and never stalled. */
  readonly standby: boolean
  /** Why messages can't arrive although they should, for people: "its queue was deleted and can't be declared: …". */
  readonly trouble?: string | undefined
}

/** The transport's side of a subscription. */
export interface TransportSubscription {
  /**
   * How long an outstanding delivery stays ours without `extend`, in ms; undefined if it does as long as the connection lives.
   * The runtime extends all outstanding deliveries in good time.
   */
  readonly leaseMs?: number | undefined
  /**
   * Allows this many more deliveries and bytes. Both add up over calls. A transport never delivers more messages than
   * requested; it may exceed the bytes by one message (or, if the broker can't count bytes, must say so on its page).
   */
  request(credit: number, bytes: number): void
  /** Stops deliveries until `resume()`; credit is kept. */
  pause(): void
  /** Continues deliveries after `pause()`, with the credit that is left. */
  resume(): void
  /**
   * Settles a batch in the given order. Resolves with the failures when the broker has accepted the rest. A `lost` delivery
   * fails with a `SettlementError`; so does an ack that the broker may not have read before its connection ended. The runtime
   * remembers messages it has handled, and acks them again without calling the handler: report a failure before you deliver its
   * message again. Never rejects.
   *
   * With the capability `orderedRedelivery`, no later message of the key arrives before one whose `nack` or `release` has
   * resolved.
   */
  settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]>
  /**
   * Renews the leases of outstanding deliveries. Present when `leaseMs` is set. Deliveries that can't be renewed are reported
   * lost.
   */
  extend?(deliveries: readonly Delivery[]): Promise<void>
  /**
   * Stores notes about unsettled deliveries at the broker. Resolves when they would survive the death of this process; rejects
   * when they can't be stored. Notes take effect in the order of the calls, and a later note about a delivery replaces an
   * earlier one. The runtime calls it
   *
   * - before it starts a handler for a message with the history `unknown` or `died`, and waits for the answer;
   * - for a handler that has been running for a moment, without waiting: short handlers cost nothing;
   * - when an attempt has failed and the next one will be made in this process (`running: false`, with its `notBefore`): that one
   *   waits for the answer, at most 2 s;
   * - for a `lost` delivery whose running handler had been noted: this process lives, so the attempt is not used. The transport
   *   stores such a note if it still can.
   *
   * Absent when the broker can't store notes; the capability `attempts` is then false.
   */
  noteAttempts?(notes: readonly AttemptNote[]): Promise<void>
  /**
   * Number of messages that could be delivered to this member now: those of its own partitions, not of other members'
   * partitions. Undefined when unknown. Absent when every member may get every message: then the group's count applies.
   */
  readyHere?(): Promise<number | undefined>
  /** State of this member. Absent when it always has a share of the group's messages. */
  state?(): SubscriptionState
  /** Stops intake at once, permanently. Outstanding deliveries can still be settled. */
  drain(): Promise<void>
  /**
   * Drains, gives up unsettled deliveries (they are delivered again soon, without using an attempt), and releases all
   * resources. Safe to call twice.
   */
  close(): Promise<void>
}

/** Which transport something goes through. */
export interface TransportIdentity {
  /** Name in this bus: `main` unless it was given in `transports`. */
  readonly name: string
  /** OpenTelemetry's `messaging.system`: `rabbitmq`, `nats`, `redis` … */
  readonly system: string
  /** The server that it is connected to at the moment of reading; see `Transport.serverAddress`. */
  readonly server?: ServerAddress | undefined
}

/** A server on the network: OpenTelemetry's `server.address` and `server.port`. */
export interface ServerAddress {
  readonly host: string
  readonly port: number
}

/** Health of one transport. */
export interface TransportHealth {
  readonly connected: boolean
  /** Why it is not connected, or what else is wrong (`disk full`). */
  readonly detail?: string | undefined
}

/** One topic on the broker. */
export interface TopicInfo {
  readonly topic: string
  /** Number of stored messages; undefined when unknown. */
  readonly messages: number | undefined
  readonly bytes: number | undefined
  readonly oldestAt: number | undefined
  /** When old messages are deleted. Undefined when unknown, or when the broker stores no messages by topic. */
  readonly retention?: RetentionInfo | undefined
}

/**
 * Limits that apply to a topic: what is beyond one of them is deleted, the oldest first. An absent one is no limit. Numbers of
 * messages and bytes may count several topics together (a stream of NATS, a file of SQLite). What groups have not acked may be
 * kept beyond the limits, where the transport says so on its page.
 */
export interface RetentionInfo {
  readonly maxAgeMs?: number | undefined
  readonly maxMessages?: number | undefined
  readonly maxBytes?: number | undefined
}

/** One consumer group of a topic. */
export interface GroupInfo {
  readonly topic: string
  readonly group: string
  /** Messages published and not yet acked by the group: waiting, delayed, and in flight. */
  readonly lag: number | undefined
  readonly inFlight: number | undefined
  /** The part of the lag that could be delivered now: not delayed, not in flight, not behind an unsettled message of its key. */
  readonly ready?: number | undefined
  readonly members: number | undefined
  /** Publish time of the oldest unacked message, in ms since 1970; undefined when there is none or it is unknown. */
  readonly oldestUnackedAt: number | undefined
  /**
   * The same by partition, where the transport knows. `lag` and `inFlight` of the group are their sums, plus what waits for its
   * time outside of the partitions.
   */
  readonly partitions?: readonly PartitionInfo[] | undefined
}

/**
 * What a group has yet to do in one partition of a topic. Whatever is unknown is undefined, never 0. A transport without
 * partitions has one.
 */
export interface PartitionInfo {
  /** Its name, as in `rebalance` events and `ctx.partition`. */
  readonly partition: string
  readonly lag: number | undefined
  readonly inFlight: number | undefined
  readonly ready?: number | undefined
  /**
   * The group has settled everything up to here, and this is the last such message: `head` once it has caught up. Where that
   * message is no longer stored, its place in the log. Undefined when there is none, or the broker keeps no log.
   */
  readonly position: Position | undefined
  /** The last stored message; undefined when there is none, or the broker keeps no log. */
  readonly head: Position | undefined
  /** The first stored message: retention has removed what was before. */
  readonly start: Position | undefined
  /** As that of the group. */
  readonly oldestUnackedAt: number | undefined
  /** The `consumerId` of the member that it belongs to; undefined when there is none, it is shared, or unknown. */
  readonly member?: string | undefined
}

/** A message as the broker stores it. */
export interface StoredMessage {
  readonly message: EncodedMessage
  readonly position: Position
}

/** Manages topics and groups. For people and tools, not for the hot path. */
export interface TransportAdmin {
  /** Creates what the topic needs on the broker, if anything. Idempotent. */
  ensureTopic(topic: string): Promise<void>
  /** Lists the topics on the broker. */
  topics(): Promise<readonly TopicInfo[]>
  /**
   * Groups of one topic, or of all topics. Its cost grows with topics × groups × partitions: ask for one topic where that is
   * enough, and every 15 s rather than every second. `group`: only that one is needed; a transport may return others as
   * well.
   */
  groups(topic?: string, group?: string): Promise<readonly GroupInfo[]>
  /**
   * Moves a group to another position. Its outstanding deliveries are lost. Rejects with `UnsupportedError` if the transport
   * has no replay.
   */
  seek(topic: string, group: string, to: StartFrom): Promise<void>
  /** Reads stored messages in order, without affecting any group: those after the position, or from the start. */
  read(
    topic: string,
    options: { readonly after?: Position | undefined; readonly limit: number },
  ): Promise<readonly StoredMessage[]>
  /** Deletes single stored messages; resolves with the number deleted. */
  remove(topic: string, positions: readonly Position[]): Promise<number>
  /** Deletes all stored messages of a topic; resolves with the number deleted, or undefined when unknown. */
  purge(topic: string): Promise<number | undefined>
  /** Deletes a group of a topic, with its position and pending messages. */
  deleteGroup(topic: string, group: string): Promise<void>
}

/** Limits of one request. */
export interface RequestOptions {
  /** How long to wait for the reply, in ms. */
  readonly timeoutMs: number
  /** Aborts the wait. */
  readonly signal?: AbortSignal | undefined
}

/** What a responder answers, and how much of it at a time. */
export interface ResponderSpec {
  /** A topic name; not a pattern. */
  readonly topic: string
  /** The responders of a group share the requests: each request goes to one of them. */
  readonly group: string
  /**
   * Maximum number of requests that this responder handles at a time. One more is refused at once, with a retryable
   * `RemoteError`: a reply that had to wait in a queue would come too late.
   */
  readonly maxInFlight: number
}

/**
 * Resolves with the reply to a request. What it throws or rejects with reaches the requester as a `RemoteError` with its message
 * (up to 1,024 characters, without the stack); so does a reply that is too large.
 */
export type Responder = (request: EncodedMessage) => EncodedMessage | Promise<EncodedMessage>

/** A responder that takes requests until it is closed. */
export interface TransportResponder {
  /**
   * Takes no more requests at once, and resolves when those that are running are answered, or when the deadline has passed
   * (default 5,000 ms): the rest are then answered with a failure. Never rejects. Safe to call twice.
   */
  close(options?: { readonly deadlineMs?: number | undefined }): Promise<void>
}

/**
 * Requests and their replies, carried by the broker and stored nowhere. Both are encoded messages: envelope, headers and body
 * arrive as they were sent, and the reply has the topic of its request. The transport matches them without help of the envelope,
 * so `correlationId` names the conversation here as everywhere.
 */
export interface RequestReply {
  /**
   * Sends a request to the responders of `message.topic`, once, and resolves with the reply. If several groups respond, each gets
   * the request, and the first answer counts. Settles once, by `timeoutMs` at the latest; an answer that comes later is ignored.
   * Rejects with
   *
   * - `NoRespondersError`, at once, when there is no responder;
   * - `RemoteError` when the responder failed or refused the request; retryable only when it certainly did not handle it;
   * - `TimeoutError` when there was no answer in time: a responder may have handled it;
   * - `PublishError` for everything else, at once. Its `outcome` says whether a responder may have it (`unknown`) or certainly
   *   does not (`not-sent`): there was no connection, or it was lost; the signal was aborted; the transport was closed; the
   *   request is too large; or too many requests are pending. A transport bounds those (`PendingRequests`: 10,000).
   */
  request(message: EncodedMessage, options: RequestOptions): Promise<EncodedMessage>
  /**
   * Answers requests. Resolves when the broker knows the responder: any request after that finds it. It comes back with the
   * connection; requests in the meantime find other responders or none.
   */
  respond(spec: ResponderSpec, responder: Responder): Promise<TransportResponder>
}

/**
 * A broker adapter: the contract that every transport implements. All methods but `open` require an open transport.
 *
 * Check an implementation with `conformance()` of `busbar/testing`. A small, complete one:
 * `examples/write-a-transport/loopback.ts`.
 */
export interface Transport {
  /** OpenTelemetry's `messaging.system`: `kafka`, `rabbitmq`, `nats`, `redis`, `sqlite`, `memory`. */
  readonly system: string
  readonly capabilities: Capabilities
  /**
   * Connects. Rejects with `ConnectionError` or `AuthorizationError` when that fails; then nothing stays open, and it may be
   * called again, as the bus does while the error is retryable. Once it has resolved, the transport reconnects by itself as
   * long as it is open, and reports that in events.
   */
  open(host: TransportHost): Promise<void>
  /**
   * Publishes a batch, in order within a key. Resolves with one outcome per message, at the same index, only after the broker's
   * durable confirmation. A message that has to wait longer than the others (its topic is full) may have a promise as its
   * outcome, so that the others don't wait for it. Failures of the broker are outcomes: neither promise rejects for them.
   *
   * `signal` aborts the wait: unconfirmed messages then fail with the outcome `unknown`, or `not-sent` when they certainly were
   * not sent. The runtime waits for the rest of that turn of the event loop, and treats messages without an outcome as
   * `unknown`.
   */
  publish(
    batch: readonly OutgoingMessage[],
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<readonly (PublishOutcome | Promise<PublishOutcome>)[]>
  /**
   * Throws a `ConfigurationError` for options that one message has for this transport (`OutgoingMessage.native`) and that are
   * wrong. The runtime calls it before the message is passed on. Absent where messages have none: the runtime then refuses them.
   */
  checkPublishOptions?(native: unknown): void
  /**
   * Publishes messages of any topics in one atomic step. Resolves with their positions, at the same indexes, when all of them are
   * stored as durably as with `publish`, and no consumer can get some of them without the others coming as well. Rejects with a
   * `PublishError`: its outcome is `not-sent` when none of them is stored, nor will be, and `unknown` when it was too late to find
   * out. They keep their order within a key; towards messages of `publish`, only once one of the two has been confirmed.
   *
   * Every message has passed the checks of `publish` before. Calls may overlap. When `signal` aborts, the transport undoes what it
   * still can, and rejects; the runtime waits for the rest of that turn, and takes the outcome for `unknown` then.
   *
   * Present with the capability `transactions`.
   */
  transaction?(
    batch: readonly OutgoingMessage[],
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<readonly (Position | undefined)[]>
  /**
   * Creates or joins the group. Delivers nothing before `request`. A group that is deleted while it has members is created
   * again at its position; if that fails, the subscription reports it in its `state`.
   */
  subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<TransportSubscription>
  readonly admin?: TransportAdmin | undefined
  /** Present with the capability `requestReply`. */
  readonly requestReply?: RequestReply | undefined
  /** Reports the state of the connection. Called at every health probe, so it answers from memory. */
  health(): TransportHealth
  /**
   * The server of the current connection, without credentials; undefined while there is none, or several. Answers from memory.
   * Absent where no server is on the network.
   */
  serverAddress?(): ServerAddress | undefined
  /**
   * Closes subscriptions, responders and connections within the deadline (default 5,000 ms), and by force when it ends. Pending
   * requests are rejected at once. Safe to call twice.
   */
  close(options?: { readonly deadlineMs?: number | undefined }): Promise<void>
}
