/** The kinds of things that an ACL is about, as the broker's error codes tell them apart. */
type Resource = 'topic' | 'group' | 'cluster' | 'transactional id'

const RESOURCES: Readonly<Record<number, Resource>> = {
  29: 'topic',
  30: 'group',
  31: 'cluster',
  53: 'transactional id',
}

type Rights = Readonly<Partial<Record<Resource, string>>>

/** What a request needs: "Operations and Resources on Protocols" in Kafka's documentation. By the first words of what was asked for. */
const RIGHTS: readonly (readonly [asked: string, rights: Rights])[] = [
  ['Produce', { topic: 'Write', cluster: 'IdempotentWrite', 'transactional id': 'Write' }],
  ['Fetch', { topic: 'Read' }],
  ['Metadata', { topic: 'Describe' }],
  ['ListOffsets', { topic: 'Describe' }],
  ['OffsetForLeaderEpoch', { topic: 'Describe' }],
  ['FindCoordinator', { group: 'Describe', 'transactional id': 'Describe' }],
  ['JoinGroup', { group: 'Read' }],
  ['SyncGroup', { group: 'Read' }],
  ['Heartbeat', { group: 'Read' }],
  ['ConsumerGroupHeartbeat', { group: 'Read', topic: 'Describe' }],
  ['ShareGroupHeartbeat', { group: 'Read', topic: 'Describe' }],
  ['ShareFetch', { group: 'Read', topic: 'Read' }],
  ['ShareAcknowledge', { group: 'Read', topic: 'Read' }],
  ['OffsetCommit', { group: 'Read', topic: 'Read' }],
  ['OffsetFetch', { group: 'Describe', topic: 'Describe' }],
  ['InitProducerId', { 'transactional id': 'Write', cluster: 'Write on any topic, or IdempotentWrite' }],
  ['AddPartitionsToTxn', { 'transactional id': 'Write', topic: 'Write' }],
  ['AddOffsetsToTxn', { 'transactional id': 'Write', group: 'Read' }],
  ['TxnOffsetCommit', { 'transactional id': 'Write', group: 'Read', topic: 'Read' }],
  ['EndTxn', { 'transactional id': 'Write' }],
  ['create topic', { topic: 'Create', cluster: 'Create' }],
  ['delete topic', { topic: 'Delete', cluster: 'Delete' }],
  ['add partitions', { topic: 'Alter' }],
  ['describe topic', { topic: 'Describe' }],
  ['read', { topic: 'Read' }],
  ['delete records', { topic: 'Delete' }],
  ['describe configs', { topic: 'DescribeConfigs', cluster: 'DescribeConfigs' }],
  ['alter configs', { topic: 'AlterConfigs', cluster: 'AlterConfigs' }],
  ['describe group', { group: 'Describe' }],
  ['delete group', { group: 'Delete' }],
  ['list offsets of group', { group: 'Describe', topic: 'Describe' }],
  ['alter offsets of group', { group: 'Read', topic: 'Read' }],
  ['delete offsets of group', { group: 'Delete', topic: 'Read' }],
  ['list ACLs', { cluster: 'Describe' }],
  ['list user', { cluster: 'Describe' }],
  ['alter user', { cluster: 'Alter' }],
  ['list quotas', { cluster: 'DescribeConfigs' }],
  ['alter quota', { cluster: 'AlterConfigs' }],
  ['describe transaction', { 'transactional id': 'Describe' }],
  ['describe producers', { topic: 'Read' }],
  ['describe the cluster', { cluster: 'Describe' }],
  ['describe log dir', { cluster: 'Describe' }],
  ['list reassignments', { cluster: 'Describe' }],
  ['reassign', { cluster: 'Alter' }],
  ['elect', { cluster: 'Alter' }],
  ['create ACL', { cluster: 'Alter' }],
  ['delete an ACL', { cluster: 'Alter' }],
  ['delete ACLs', { cluster: 'Alter' }],
]

/** The right that an authorization error is about, such as `Write on the topic`; undefined for other errors and requests. */
export function missingRightOf(code: number, asked: string): string | undefined {
  const resource = RESOURCES[code]
  if (resource === undefined) return undefined
  const right = RIGHTS.find(([start]) => asked.startsWith(start))?.[1][resource]
  return right === undefined ? undefined : `${right} on the ${resource}`
}
