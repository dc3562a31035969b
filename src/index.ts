export { createBus } from './core/bus.ts'
export { sleep, systemClock } from './core/clock.ts'
export { bytesCodec, jsonCodec, textCodec } from './core/codec.ts'
export { defineConsumer, defineEvent } from './core/define.ts'
export {
  AuthorizationError,
  BusbarError,
  CodecError,
  ConfigurationError,
  ConflictError,
  ConnectionError,
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
  BusOptions,
  BusState,
  CloseOptions,
  ConsumerHandle,
  ConsumerHealth,
  ConsumerStats,
  DeadLetter,
  DeadLetterCause,
  DeadLetters,
  DeadLetterSelection,
  HealthReason,
  HealthReport,
  PublisherOptions,
  PurgeOptions,
  RedriveOptions,
  RedriveReport,
  StartOptions,
} from './core/bus-types.ts'
export type { CausalityContext } from './core/causality.ts'
export type { Clock, Timer } from './core/clock.ts'
export type { Codec } from './core/codec.ts'
export type { BatchConsumeOptions, ConsumeOptions, RetryOptions } from './core/consume-options.ts'
export type {
  AnyConsumerDefinition,
  AnyEventDefinition,
  ConsumerDefinition,
  EventDefinition,
  EventOptions,
} from './core/define.ts'
export type {
  BusbarErrorOptions,
  ErrorCode,
  InterruptedReport,
  Problem,
  PublishFailure,
  ValidationIssue,
} from './core/errors.ts'
export type { BusEventListener, BusEventMap, BusEventName, BusEvents, DeadLetterReason } from './core/events.ts'
export type {
  BatchContext,
  BatchHandler,
  BatchItemResult,
  ConsumerControl,
  Handler,
  HandlerContext,
  Middleware,
} from './core/handler.ts'
export type { Logger } from './core/logger.ts'
export type { EncodedMessage, Headers, Message, OutgoingMessage } from './core/message.ts'
export type {
  PublishItem,
  PublishManyOptions,
  PublishOptions,
  PublishReceipt,
  PublishResult,
} from './core/publish-options.ts'
export type { StandardIssue, StandardResult, StandardSchema } from './core/standard-schema.ts'
export type {
  Capabilities,
  GroupInfo,
  Position,
  StartFrom,
  StoredMessage,
  TopicInfo,
  Transport,
  TransportAdmin,
  TransportHealth,
} from './core/transport.ts'
export type { WireCheckMode } from './core/wire-check.ts'
