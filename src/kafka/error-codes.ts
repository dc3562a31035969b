// Over 140 lines of table: every error code that a broker has ever been given, with what the client does about it.

/**
 * What the client does about an error:
 *
 * - `retry`: send the same request to the same broker again, after a pause.
 * - `refresh`: read the metadata, then send to the leader that it names.
 * - `rediscover`: look up the coordinator or the controller, then send to it.
 * - `rejoin`: the group has moved on; join it again.
 * - `abort`: the transaction can only be aborted; the producer works on after that.
 * - `fenced`: another producer, member or instance has taken this one's place.
 * - `fatal`: trying again can't help; what to do is in the message.
 */
export type ErrorAction = 'retry' | 'refresh' | 'rediscover' | 'rejoin' | 'abort' | 'fenced' | 'fatal'

/**
 * What became of the write that failed:
 *
 * - `not-sent`: it never left this process.
 * - `rejected`: the broker has not applied it.
 * - `unknown`: the broker may have applied it, or may still do so.
 */
export type WriteOutcome = 'not-sent' | 'rejected' | 'unknown'

export interface BrokerError {
  readonly code: number
  readonly name: BrokerErrorCode
  readonly action: ErrorAction
  /** For a write. `unknown` also where a broker answers so after it has appended, as while its leadership moves away. */
  readonly outcome: WriteOutcome
  /** What it means, and what to do where the client can't do it by itself. */
  readonly meaning: string
}

const TABLE = [
  [-1, 'UNKNOWN_SERVER_ERROR', 'fatal', 'unknown', 'the broker hit an unexpected error; its log has the cause'],
  [1, 'OFFSET_OUT_OF_RANGE', 'fatal', 'rejected', 'the log no longer has, or does not yet have, this offset'],
  [2, 'CORRUPT_MESSAGE', 'retry', 'rejected', 'a batch arrived damaged, or a compacted topic got a record without key'],
  [3, 'UNKNOWN_TOPIC_OR_PARTITION', 'refresh', 'unknown', 'the broker does not host this partition, or does not yet'],
  [4, 'INVALID_FETCH_SIZE', 'fatal', 'rejected', 'the fetch size is not valid'],
  [5, 'LEADER_NOT_AVAILABLE', 'refresh', 'rejected', 'the partition has no leader while one is being elected'],
  [6, 'NOT_LEADER_OR_FOLLOWER', 'refresh', 'unknown', 'the partition has moved to another broker'],
  [7, 'REQUEST_TIMED_OUT', 'retry', 'unknown', 'the broker did not finish in time'],
  [8, 'BROKER_NOT_AVAILABLE', 'refresh', 'rejected', 'a broker that is needed is not available'],
  [9, 'REPLICA_NOT_AVAILABLE', 'refresh', 'rejected', 'the replica is not available'],
  [10, 'MESSAGE_TOO_LARGE', 'fatal', 'rejected', "larger than the topic's max.message.bytes; raise it or send less"],
  [11, 'STALE_CONTROLLER_EPOCH', 'rediscover', 'rejected', 'the controller has moved to another broker'],
  [12, 'OFFSET_METADATA_TOO_LARGE', 'fatal', 'rejected', "the offset's metadata exceeds offset.metadata.max.bytes"],
  [13, 'NETWORK_EXCEPTION', 'refresh', 'unknown', 'a broker lost a connection before the answer came'],
  [14, 'COORDINATOR_LOAD_IN_PROGRESS', 'retry', 'rejected', 'the coordinator is still loading'],
  [15, 'COORDINATOR_NOT_AVAILABLE', 'rediscover', 'unknown', 'the coordinator is not available'],
  [16, 'NOT_COORDINATOR', 'rediscover', 'unknown', 'the coordinator has moved to another broker'],
  [17, 'INVALID_TOPIC_EXCEPTION', 'fatal', 'rejected', 'the name is not valid for a topic, or the topic is internal'],
  [18, 'RECORD_LIST_TOO_LARGE', 'fatal', 'rejected', "the batch is larger than the topic's segment.bytes"],
  [19, 'NOT_ENOUGH_REPLICAS', 'retry', 'rejected', 'fewer replicas are in sync than min.insync.replicas requires'],
  [20, 'NOT_ENOUGH_REPLICAS_AFTER_APPEND', 'retry', 'unknown', 'written, but to fewer replicas than required'],
  [21, 'INVALID_REQUIRED_ACKS', 'fatal', 'rejected', 'acks must be 0, 1 or all'],
  [22, 'ILLEGAL_GENERATION', 'rejoin', 'rejected', 'the group has rebalanced since'],
  [
    23,
    'INCONSISTENT_GROUP_PROTOCOL',
    'fatal',
    'rejected',
    'the other members of the group share no assignor with this one',
  ],
  [24, 'INVALID_GROUP_ID', 'fatal', 'rejected', 'the group id is not valid'],
  [25, 'UNKNOWN_MEMBER_ID', 'rejoin', 'rejected', 'the coordinator does not know this member, or no longer'],
  [26, 'INVALID_SESSION_TIMEOUT', 'fatal', 'rejected', 'outside group.min/max.session.timeout.ms of the broker'],
  [27, 'REBALANCE_IN_PROGRESS', 'rejoin', 'rejected', 'the group is rebalancing'],
  [28, 'INVALID_COMMIT_OFFSET_SIZE', 'fatal', 'rejected', 'the offset data is too large'],
  [29, 'TOPIC_AUTHORIZATION_FAILED', 'fatal', 'rejected', 'an ACL for this topic is missing'],
  [30, 'GROUP_AUTHORIZATION_FAILED', 'fatal', 'rejected', 'an ACL for this group is missing'],
  [31, 'CLUSTER_AUTHORIZATION_FAILED', 'fatal', 'rejected', 'an ACL for the cluster is missing'],
  [32, 'INVALID_TIMESTAMP', 'fatal', 'rejected', "the timestamp is outside the topic's allowed range"],
  [33, 'UNSUPPORTED_SASL_MECHANISM', 'fatal', 'rejected', 'the broker does not offer this SASL mechanism'],
  [34, 'ILLEGAL_SASL_STATE', 'fatal', 'rejected', 'this listener has no SASL: leave out sasl, or use another port'],
  [35, 'UNSUPPORTED_VERSION', 'fatal', 'rejected', 'the broker does not support this version of the request'],
  [36, 'TOPIC_ALREADY_EXISTS', 'fatal', 'rejected', 'the topic exists'],
  [37, 'INVALID_PARTITIONS', 'fatal', 'rejected', 'the number of partitions is not possible'],
  [38, 'INVALID_REPLICATION_FACTOR', 'fatal', 'rejected', 'below 1, or more than there are brokers'],
  [39, 'INVALID_REPLICA_ASSIGNMENT', 'fatal', 'rejected', 'the replica assignment is not valid'],
  [40, 'INVALID_CONFIG', 'fatal', 'rejected', 'the configuration is not valid'],
  [41, 'NOT_CONTROLLER', 'rediscover', 'rejected', 'the controller is another broker'],
  [42, 'INVALID_REQUEST', 'fatal', 'rejected', 'the broker finds the request malformed; its log has the cause'],
  [43, 'UNSUPPORTED_FOR_MESSAGE_FORMAT', 'fatal', 'rejected', "the topic's message format does not support this"],
  [44, 'POLICY_VIOLATION', 'fatal', 'rejected', "refused by the broker's policy"],
  [45, 'OUT_OF_ORDER_SEQUENCE_NUMBER', 'retry', 'rejected', 'a batch before this one is missing'],
  // The batch is in the log: the answer to its first sending was lost.
  [46, 'DUPLICATE_SEQUENCE_NUMBER', 'retry', 'unknown', 'the broker already has this batch'],
  [47, 'INVALID_PRODUCER_EPOCH', 'fenced', 'rejected', 'the producer works with an old epoch'],
  [48, 'INVALID_TXN_STATE', 'fenced', 'rejected', 'the transaction is not in a state that allows this'],
  [49, 'INVALID_PRODUCER_ID_MAPPING', 'abort', 'rejected', 'the transactional id has been given another producer id'],
  [50, 'INVALID_TRANSACTION_TIMEOUT', 'fatal', 'rejected', 'longer than transaction.max.timeout.ms of the broker'],
  [51, 'CONCURRENT_TRANSACTIONS', 'retry', 'rejected', 'the former transaction is still being completed'],
  [52, 'TRANSACTION_COORDINATOR_FENCED', 'rediscover', 'rejected', 'the transaction coordinator has moved'],
  [53, 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED', 'fatal', 'rejected', 'an ACL for this transactional id is missing'],
  [54, 'SECURITY_DISABLED', 'fatal', 'rejected', 'the broker has no authorizer'],
  [55, 'OPERATION_NOT_ATTEMPTED', 'retry', 'rejected', 'an earlier part of the same request failed'],
  [56, 'KAFKA_STORAGE_ERROR', 'refresh', 'unknown', 'the broker has a disk error'],
  [57, 'LOG_DIR_NOT_FOUND', 'fatal', 'rejected', 'the broker has no such log directory'],
  [58, 'SASL_AUTHENTICATION_FAILED', 'fatal', 'rejected', 'the credentials were refused'],
  [59, 'UNKNOWN_PRODUCER_ID', 'abort', 'rejected', 'the broker has forgotten this producer'],
  [
    60,
    'REASSIGNMENT_IN_PROGRESS',
    'fatal',
    'rejected',
    'the partition is being reassigned; try again when that is done',
  ],
  [61, 'DELEGATION_TOKEN_AUTH_DISABLED', 'fatal', 'rejected', 'delegation tokens are not enabled'],
  [62, 'DELEGATION_TOKEN_NOT_FOUND', 'fatal', 'rejected', 'the broker does not know this delegation token'],
  [63, 'DELEGATION_TOKEN_OWNER_MISMATCH', 'fatal', 'rejected', 'the token belongs to another principal'],
  [64, 'DELEGATION_TOKEN_REQUEST_NOT_ALLOWED', 'fatal', 'rejected', 'not allowed on this kind of connection'],
  [65, 'DELEGATION_TOKEN_AUTHORIZATION_FAILED', 'fatal', 'rejected', 'an ACL for delegation tokens is missing'],
  [66, 'DELEGATION_TOKEN_EXPIRED', 'fatal', 'rejected', 'the delegation token has expired'],
  [67, 'INVALID_PRINCIPAL_TYPE', 'fatal', 'rejected', 'this type of principal is not supported'],
  [68, 'NON_EMPTY_GROUP', 'fatal', 'rejected', 'the group still has members; stop them first'],
  [69, 'GROUP_ID_NOT_FOUND', 'fatal', 'rejected', 'the group does not exist, or not with this protocol'],
  [70, 'FETCH_SESSION_ID_NOT_FOUND', 'retry', 'rejected', 'the broker has dropped the fetch session'],
  [71, 'INVALID_FETCH_SESSION_EPOCH', 'retry', 'rejected', 'a request of the fetch session was lost'],
  [72, 'LISTENER_NOT_FOUND', 'refresh', 'rejected', 'the leader lacks the listener that this client uses'],
  [73, 'TOPIC_DELETION_DISABLED', 'fatal', 'rejected', 'delete.topic.enable is false'],
  [74, 'FENCED_LEADER_EPOCH', 'refresh', 'rejected', "this client's metadata is older than the broker's"],
  [75, 'UNKNOWN_LEADER_EPOCH', 'refresh', 'rejected', "the broker's metadata is older than this client's"],
  [76, 'UNSUPPORTED_COMPRESSION_TYPE', 'fatal', 'rejected', 'the broker does not support this compression'],
  [77, 'STALE_BROKER_EPOCH', 'retry', 'rejected', 'the broker has been registered again'],
  [78, 'OFFSET_NOT_AVAILABLE', 'retry', 'rejected', 'the new leader does not know its high watermark yet'],
  [79, 'MEMBER_ID_REQUIRED', 'rejoin', 'rejected', 'join again with the member id of the answer'],
  [80, 'PREFERRED_LEADER_NOT_AVAILABLE', 'fatal', 'rejected', 'the preferred leader is not available'],
  [81, 'GROUP_MAX_SIZE_REACHED', 'fatal', 'rejected', 'the group has group.max.size members'],
  [82, 'FENCED_INSTANCE_ID', 'fenced', 'rejected', 'another member has joined with this group instance id'],
  [83, 'ELIGIBLE_LEADERS_NOT_AVAILABLE', 'fatal', 'rejected', 'no replica may become leader'],
  [84, 'ELECTION_NOT_NEEDED', 'fatal', 'rejected', 'the preferred replica leads already'],
  [85, 'NO_REASSIGNMENT_IN_PROGRESS', 'fatal', 'rejected', 'there is no reassignment to cancel'],
  [86, 'GROUP_SUBSCRIBED_TO_TOPIC', 'fatal', 'rejected', 'the group still consumes this topic'],
  [
    87,
    'INVALID_RECORD',
    'fatal',
    'rejected',
    'the broker refused a record, for example one without key on a compacted topic',
  ],
  [88, 'UNSTABLE_OFFSET_COMMIT', 'retry', 'rejected', 'a transaction that commits this offset is still open'],
  [89, 'THROTTLING_QUOTA_EXCEEDED', 'retry', 'rejected', 'over the quota'],
  [90, 'PRODUCER_FENCED', 'fenced', 'rejected', 'a newer producer uses the same transactional id'],
  [91, 'RESOURCE_NOT_FOUND', 'fatal', 'rejected', 'the resource does not exist'],
  [92, 'DUPLICATE_RESOURCE', 'fatal', 'rejected', 'the request names the same resource twice'],
  [93, 'UNACCEPTABLE_CREDENTIAL', 'fatal', 'rejected', 'the credential does not meet the criteria'],
  [94, 'INCONSISTENT_VOTER_SET', 'fatal', 'rejected', 'sender and receiver disagree about the voters'],
  [95, 'INVALID_UPDATE_VERSION', 'fatal', 'rejected', 'the feature version is not valid'],
  [96, 'FEATURE_UPDATE_FAILED', 'fatal', 'unknown', 'the feature update failed'],
  [97, 'PRINCIPAL_DESERIALIZATION_FAILURE', 'fatal', 'rejected', 'the brokers disagree about security settings'],
  [98, 'SNAPSHOT_NOT_FOUND', 'fatal', 'rejected', 'the snapshot does not exist'],
  [99, 'POSITION_OUT_OF_RANGE', 'fatal', 'rejected', 'the position is outside the snapshot'],
  [100, 'UNKNOWN_TOPIC_ID', 'refresh', 'unknown', 'the topic was deleted, or this broker has not heard of it yet'],
  [101, 'DUPLICATE_BROKER_REGISTRATION', 'fatal', 'rejected', 'the broker id is in use'],
  [102, 'BROKER_ID_NOT_REGISTERED', 'fatal', 'rejected', 'the broker id is not registered'],
  [103, 'INCONSISTENT_TOPIC_ID', 'refresh', 'unknown', 'the topic has been deleted and made again'],
  [104, 'INCONSISTENT_CLUSTER_ID', 'fatal', 'rejected', 'this is another cluster'],
  [105, 'TRANSACTIONAL_ID_NOT_FOUND', 'fatal', 'rejected', 'the transactional id does not exist'],
  [106, 'FETCH_SESSION_TOPIC_ID_ERROR', 'retry', 'rejected', 'the fetch session mixes topic names and topic ids'],
  [107, 'INELIGIBLE_REPLICA', 'fatal', 'rejected', 'a replica may not be in sync'],
  [108, 'NEW_LEADER_ELECTED', 'refresh', 'rejected', 'a new leader has been elected'],
  [109, 'OFFSET_MOVED_TO_TIERED_STORAGE', 'fatal', 'rejected', 'the offset is in tiered storage'],
  [110, 'FENCED_MEMBER_EPOCH', 'rejoin', 'rejected', 'the coordinator has given up this member'],
  [111, 'UNRELEASED_INSTANCE_ID', 'retry', 'rejected', 'another member still uses this group instance id'],
  [112, 'UNSUPPORTED_ASSIGNOR', 'fatal', 'rejected', 'the broker does not have this assignor'],
  [113, 'STALE_MEMBER_EPOCH', 'retry', 'rejected', 'the member has a newer epoch; the next heartbeat brings it'],
  [114, 'MISMATCHED_ENDPOINT_TYPE', 'fatal', 'rejected', 'this endpoint is of another type'],
  [115, 'UNSUPPORTED_ENDPOINT_TYPE', 'fatal', 'rejected', 'this type of endpoint is not supported'],
  [116, 'UNKNOWN_CONTROLLER_ID', 'rediscover', 'rejected', 'the controller id is not known'],
  [117, 'UNKNOWN_SUBSCRIPTION_ID', 'retry', 'rejected', 'the telemetry subscription is outdated'],
  [118, 'TELEMETRY_TOO_LARGE', 'fatal', 'rejected', 'the telemetry is larger than the broker accepts'],
  [119, 'INVALID_REGISTRATION', 'fatal', 'rejected', 'the registration is not valid'],
  [120, 'TRANSACTION_ABORTABLE', 'abort', 'rejected', 'the transaction must be aborted'],
  [121, 'INVALID_RECORD_STATE', 'fatal', 'rejected', 'the acquisition of this record has ended'],
  [122, 'SHARE_SESSION_NOT_FOUND', 'retry', 'rejected', 'the broker has dropped the share session'],
  [123, 'INVALID_SHARE_SESSION_EPOCH', 'retry', 'rejected', 'a request of the share session was lost'],
  [124, 'FENCED_STATE_EPOCH', 'fatal', 'rejected', 'the state of the share group has moved on'],
  [125, 'INVALID_VOTER_KEY', 'fatal', 'rejected', "the voter's key does not match"],
  [126, 'DUPLICATE_VOTER', 'fatal', 'rejected', 'already a voter'],
  [127, 'VOTER_NOT_FOUND', 'fatal', 'rejected', 'not a voter'],
  [128, 'INVALID_REGULAR_EXPRESSION', 'fatal', 'rejected', 'the pattern is not valid for the broker (RE2)'],
  [129, 'REBOOTSTRAP_REQUIRED', 'refresh', 'rejected', 'the client must start again from its bootstrap addresses'],
  [130, 'STREAMS_INVALID_TOPOLOGY', 'fatal', 'rejected', 'the topology is not valid'],
  [131, 'STREAMS_INVALID_TOPOLOGY_EPOCH', 'fatal', 'rejected', 'the topology epoch is not valid'],
  [132, 'STREAMS_TOPOLOGY_FENCED', 'fenced', 'rejected', 'the group has a newer topology'],
  [133, 'SHARE_SESSION_LIMIT_REACHED', 'retry', 'rejected', 'the broker has no room for another share session'],
] as const

/** What a broker's codes are called; one that this version of the client does not know has its number in its name. */
export type BrokerErrorCode = (typeof TABLE)[number][1] | `UNKNOWN_CODE_${number}`

/** All known codes but 0, which is success. */
export const BROKER_ERRORS: readonly BrokerError[] = TABLE.map(([code, name, action, outcome, meaning]) => ({
  code,
  name,
  action,
  outcome,
  meaning,
}))

const BY_CODE = new Map(BROKER_ERRORS.map((error) => [error.code, error]))

/** What a code means. One that this version doesn't know comes from a newer broker: nothing can be said about the write. */
export function brokerErrorOf(code: number): BrokerError {
  return (
    BY_CODE.get(code) ?? {
      code,
      name: `UNKNOWN_CODE_${code}`,
      action: 'fatal',
      outcome: 'unknown',
      meaning: 'this client does not know the code; the broker is newer',
    }
  )
}
