/**
 * Everything that a transport outside of this package needs: the contract (`Transport` and the types of its methods), the
 * errors that a transport reports, and the helpers that Busbar's own transports share. `docs/how-to/write-a-transport.md` shows
 * a whole transport that imports nothing else; `conformance()` of `busbar/testing` checks one.
 */

export { isCertificateError } from '../core/util/certificate-error.ts'
export { sleep, systemClock } from '../core/clock.ts'
export {
  contentTypeToWrite,
  fromCloudEventHeaders,
  toCloudEventHeaders,
  toCompactHeaders,
} from '../core/cloud-events.ts'
export { COMPACT_MARK, compactForm, compactMark, isTimeInId, readEnvelopeForm } from '../core/compact-envelope.ts'
export {
  AuthorizationError,
  ConfigurationError,
  ConnectionError,
  NoRespondersError,
  PublishError,
  RemoteError,
  SettlementError,
  StateError,
  TimeoutError,
  UnsupportedError,
  ValidationError,
} from '../core/errors.ts'
export { bodyBytes, bodyOf, messageBytes, NO_HEADERS } from '../core/message.ts'
export { ConnectionState } from '../core/util/connection-state.ts'
export { CreditBalance } from '../core/util/credit-balance.ts'
export { OpenedOnce } from '../core/util/opened-once.ts'
export { settledWithin } from '../core/util/settled-within.ts'
export { growingDelay, halfRandom } from '../core/util/backoff.ts'
export { PendingRequests, requestFailed } from '../core/util/pending-requests.ts'
export { failureOf, RunningRequests } from '../core/util/running-requests.ts'
export { OptionsReader } from '../core/util/options-reader.ts'
export { contentBytes, ENVELOPE_ROOM_BYTES, OWN_HEADER_BYTES, tooLarge } from '../core/publish/size-limit.ts'
export { compilePattern, deadLetterTopic, isDeadLetterTopic, isPattern, topicProblem } from '../core/topic.ts'
export { uuidTime } from '../core/publish/uuid.ts'
export { urlParameter } from '../core/util/url-parameter.ts'

export type { BackoffLimits } from '../core/util/backoff.ts'
export type { Clock, Timer } from '../core/clock.ts'
export type { NativeFields, NativeMessage } from '../core/cloud-events.ts'
export type { CompactForm, EnvelopeForm } from '../core/compact-envelope.ts'
export type { Problem, PublishFailure } from '../core/errors.ts'
export type { BusEventMap, BusEventName, BusEvents } from '../core/events.ts'
export type { RequestAnswer } from '../core/util/running-requests.ts'
export type { Logger } from '../core/logger.ts'
export type { EncodedMessage, Headers, OutgoingMessage, Position } from '../core/message.ts'
export type {
  AttemptNote,
  Capabilities,
  Delivery,
  DeliveryHistory,
  DeliverySink,
  EventFilter,
  GroupInfo,
  Outcome,
  PartitionInfo,
  PublishOutcome,
  RequestOptions,
  RequestReply,
  Responder,
  ResponderSpec,
  RetentionInfo,
  ServerAddress,
  Settlement,
  SettlementFailure,
  StartFrom,
  StoredMessage,
  SubscriptionSpec,
  SubscriptionState,
  TopicInfo,
  Transport,
  TransportAdmin,
  TransportHealth,
  TransportHost,
  TransportResponder,
  TransportSubscription,
} from '../core/transport.ts'
