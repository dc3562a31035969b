import type { Cluster } from '../cluster/cluster.ts'
import { AclsAdmin } from './acls.ts'
import { AdminContext } from './admin-context.ts'
import type { AdminOptions } from './admin-context.ts'
import { ClusterAdmin } from './cluster-admin.ts'
import { ConfigsAdmin } from './configs.ts'
import { GroupOffsetsAdmin } from './group-offsets.ts'
import { GroupsAdmin } from './groups.ts'
import { QuotasAdmin } from './quotas.ts'
import { RecordsAdmin } from './records.ts'
import { ShareOffsetsAdmin } from './share-offsets.ts'
import { TopicsAdmin } from './topics.ts'
import { TransactionsAdmin } from './transactions.ts'
import { UsersAdmin } from './users.ts'

/**
 * Manages a cluster. Temporary failures (a coordinator moves, a broker restarts) are retried for `timeoutMs`; then
 * the method rejects with a {@link KafkaError}. A change whose outcome is unknown is not retried. If only some items
 * of a call failed, the error is a `PartialFailureError`, and the other items are done.
 */
export interface Admin {
  readonly topics: TopicsAdmin
  readonly records: RecordsAdmin
  readonly configs: ConfigsAdmin
  readonly groups: GroupsAdmin
  readonly offsets: GroupOffsetsAdmin
  readonly shareOffsets: ShareOffsetsAdmin
  readonly acls: AclsAdmin
  readonly users: UsersAdmin
  readonly quotas: QuotasAdmin
  readonly transactions: TransactionsAdmin
  readonly cluster: ClusterAdmin
}

/** It holds nothing: it ends with the cluster. */
export function createAdmin(cluster: Cluster, options: AdminOptions = {}): Admin {
  const context = new AdminContext(cluster, options)
  const records = new RecordsAdmin(context)
  return {
    topics: new TopicsAdmin(context),
    records,
    configs: new ConfigsAdmin(context),
    groups: new GroupsAdmin(context),
    offsets: new GroupOffsetsAdmin(context, records),
    shareOffsets: new ShareOffsetsAdmin(context, records),
    acls: new AclsAdmin(context),
    users: new UsersAdmin(context),
    quotas: new QuotasAdmin(context),
    transactions: new TransactionsAdmin(context),
    cluster: new ClusterAdmin(context),
  }
}
