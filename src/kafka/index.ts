// The Kafka client: `busbar/kafka/client`. It knows nothing of the rest of Busbar.
export { createClient } from './client.ts'
export type { ClientOptions, KafkaClient } from './client.ts'
export type { ClientHooks } from './client-hooks.ts'
export type { CloseOptions } from './close-deadline.ts'

export { InvalidOptionsError, KafkaError, MalformedError, UnencodableError } from './errors.ts'
export type {
  BrokerErrorCode,
  ClientErrorCode,
  ErrorAction,
  KafkaErrorCode,
  KafkaErrorOptions,
  MalformedCode,
  OptionProblem,
  WriteOutcome,
} from './errors.ts'

export type { ClusterOptions } from './cluster/cluster-options.ts'
export type {
  BrokerIdentity,
  ClusterHooks,
  ConnectionEvent,
  RequestEvent,
  ThrottleEvent,
  TroubleEvent,
} from './cluster/hooks.ts'
export type { Clock } from './network/clock.ts'
export type { BearerToken } from './network/sasl/oauth-bearer.ts'
export type { Given, SaslOptions } from './network/sasl/sasl.ts'
export type { Credentials } from './network/sasl/sasl-exchange.ts'
export type { Address, KafkaSocket, OpenSocket, SocketHandlers } from './network/sockets.ts'

export { SendManyError } from './producer/deliveries.ts'
export type { RecordFailure, SentRange, SentRecord } from './producer/deliveries.ts'
export { partitionForKey } from './producer/partitioner.ts'
export type { PartitionChoice, Partitioner } from './producer/partitioner.ts'
export type { Producer } from './producer/producer.ts'
export type { BatchEvent } from './producer/producer-hooks.ts'
export type { ProducerOptions } from './producer/producer-options.ts'
export type { ProducerRecord, RecordContent } from './producer/producer-record.ts'
export type { GroupBatch, GroupMember, SendOptions, Transaction } from './producer/transaction.ts'
export type { GroupMetadata, TransactionOffset } from './producer/transaction-requests.ts'
export type { RecordBytes, RecordHeader } from './records/batch-builder.ts'
export type { Codec } from './records/batch-format.ts'
export type { KafkaRecord, LoggedRecord, ReadHeader } from './records/record.ts'

export type { Consumer, OffsetToCommit, PartitionProgress } from './consumer/consumer.ts'
export type { ConsumerBatch, MemberMetadata, NextOffset } from './consumer/consumer-batch.ts'
export type { ConsumerEventName, ConsumerEvents } from './consumer/consumer-events.ts'
export type { ConsumerHooks, LossEvent, RebalanceEvent } from './consumer/consumer-hooks.ts'
export type { AssignorName, ConsumerOptions, StartingPartition } from './consumer/consumer-options.ts'
export type { CommittedPosition, ResetPolicy, StartPosition } from './consumer/fetch/position.ts'
export type { LossReason } from './consumer/group-machine.ts'
export type { RecordContext, RunOptions } from './consumer/handler-run.ts'
export type { TopicPartition } from './consumer/partition-set.ts'
export type { ShareConsumer, ShareRunOptions } from './consumer/share/share-consumer.ts'
export type { AcquireMode, ShareConsumerOptions } from './consumer/share/share-options.ts'
export type { ShareRecord } from './consumer/share/share-record.ts'
export type { Verdict } from './consumer/share/share-session.ts'

export { CLUSTER_RESOURCE } from './admin/acls.ts'
export type { Acl, AclFilter, AclsAdmin } from './admin/acls.ts'
export type { Admin } from './admin/admin.ts'
export { PartialFailureError } from './admin/admin-context.ts'
export type { AdminOptions } from './admin/admin-context.ts'
export type { ClusterAdmin, ClusterInfo, LogDirInfo, Reassignment } from './admin/cluster-admin.ts'
export type { ConfigChanges, ConfigEntry, ConfigResource, ConfigsAdmin } from './admin/configs.ts'
export type { GroupOffset, GroupOffsetsAdmin, NewGroupOffset } from './admin/group-offsets.ts'
export type { GroupInfo, GroupListing, GroupMember as GroupMemberInfo, GroupsAdmin } from './admin/groups.ts'
export type { Quota, QuotaEntity, QuotasAdmin } from './admin/quotas.ts'
export type { ReadRecords } from './admin/record-reader.ts'
export type { OffsetSpec, PartitionOffset, RecordsAdmin } from './admin/records.ts'
export type { NewShareGroupOffset, ShareGroupOffset, ShareOffsetsAdmin } from './admin/share-offsets.ts'
export type { NewTopic, TopicInfo, TopicPartitionInfo, TopicsAdmin } from './admin/topics.ts'
export type { ActiveProducer, TransactionInfo, TransactionListing, TransactionsAdmin } from './admin/transactions.ts'
export type { ScramMechanism, ScramUser, UsersAdmin } from './admin/users.ts'
