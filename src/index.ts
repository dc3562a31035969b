export { createBus } from './core/bus.ts'
export { sleep, systemClock } from './core/clock.ts'
export { bytesCodec, jsonCodec, textCodec } from './core/codec.ts'
export { defineEvent } from './core/define.ts'
export { defineConsumer } from './core/define-consumer.ts'
export { defineEvents, isEvent } from './core/event-set.ts'
export {
  AuthorizationError,
  BusbarError,
  CodecError,
  CommitUnknownError,
  ConfigurationError,
  ConflictError,
  ConnectionError,
  ExtensionError,
  InterruptedError,
  NoRespondersError,
  PublishError,
  RejectError,
  RemoteError,
  SettlementError,
  StateError,
  TimeoutError,
  UnsupportedError,
  ValidationError,
} from './core/errors.ts'
export { silentLogger } from './core/logger.ts'
export { deadLetterTopic } from './core/topic.ts'

export type {
  Bus,
  BusExtension,
  BusOptions,
  CloseOptions,
  ConsumerHandle,
  DeadLetter,
  DeadLetterCause,
  DeadLetters,
  DeadLetterSelection,
  PublisherOptions,
  PurgeOptions,
  RedriveOptions,
  RedriveReport,
  StartOptions,
} from './core/bus-types.ts'
export type { CausalityContext } from './core/causality.ts'
export type { Clock, Timer } from './core/clock.ts'
export type { AsyncCodec, Codec } from './core/codec.ts'
export type {
  BatchConsumeOptions,
  ConsumeOptions,
  ResolvedConsumeOptions,
  ResolvedRetry,
  RetryOptions,
} from './core/consume/consume-options.ts'
export type { Where, WhereAttributes, WhereData, WhereText } from './core/where/where.ts'
export type { ConsumerStats } from './core/consume/consumer-stats.ts'
export type { AnyEventDefinition, EventDefinition, EventOptions } from './core/define.ts'
export type {
  AnyConsumerDefinition,
  BatchConsumerDefinition,
  ConsumerDefinition,
  SingleConsumerDefinition,
} from './core/define-consumer.ts'
export type {
  DataOf,
  EventSet,
  EventSetBatchHandler,
  EventSetHandler,
  EventSetMessage,
  EventSetOptions,
} from './core/event-set.ts'
export type {
  BusbarErrorOptions,
  ErrorCode,
  InterruptedReport,
  Problem,
  PublishFailure,
  ValidationIssue,
} from './core/errors.ts'
export type {
  BusEventListener,
  BusEventMap,
  BusEventName,
  BusEvents,
  DeadLetterReason,
  EventOfConsumer,
  EventOfMessage,
  EventOfTransport,
} from './core/events.ts'
export type {
  BatchContext,
  BatchHandler,
  BatchItemResult,
  BatchMiddleware,
  ConsumerControl,
  Handler,
  HandlerContext,
  Middleware,
} from './core/handler.ts'
export type { BusState, ConsumerHealth, ExtensionHealth, HealthReason, HealthReport } from './core/health.ts'
export type { Logger } from './core/logger.ts'
export type { EncodedMessage, Headers, Message, OutgoingMessage, Position } from './core/message.ts'
export type { PublishCall, PublishCallItem, PublishMiddleware, PublishStep } from './core/publish/publish-middleware.ts'
export type {
  BatchEnd,
  BusObserver,
  HandleEnd,
  ConnectEnd,
  ObservedConnect,
  ObservedPublish,
  ObservedSettle,
  PublishEnd,
  SettleEnd,
} from './core/observers.ts'
export type {
  AllowFailures,
  PublishItem,
  PublishManyOptions,
  PublishOptions,
  PublishReceipt,
  PublishResult,
  RefuseFailures,
  SendOptions,
} from './core/publish/publish-options.ts'
export type { Transaction, TransactionPublishOptions } from './core/publish/transaction.ts'
export type { PublishCount } from './core/publish/publish-counts.ts'
export type {
  BusSnapshot,
  ConsumerSnapshot,
  ExtensionSnapshot,
  PublishedTopicSnapshot,
  TransportSnapshot,
} from './core/snapshot.ts'
export type { StandardIssue, StandardResult, StandardSchema } from './core/standard-schema.ts'
export type {
  Capabilities,
  GroupInfo,
  PartitionInfo,
  RetentionInfo,
  ServerAddress,
  StartFrom,
  StoredMessage,
  TopicInfo,
  Transport,
  TransportAdmin,
  TransportHealth,
  TransportIdentity,
} from './core/transport.ts'
export type { WireCheckMode } from './core/publish/wire-check.ts'
