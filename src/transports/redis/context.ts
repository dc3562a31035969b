import type { GroupLooks } from './partitions/group-looks.ts'
import type { Maintenance } from './partitions/maintenance.ts'
import type { RedisParts } from './parts.ts'

/** Shared by all parts of one transport while it is open. */
export interface RedisContext extends RedisParts {
  readonly maintenance: Maintenance
  readonly groupLooks: GroupLooks
}
