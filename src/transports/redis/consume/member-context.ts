import type { SubscriptionSpec } from '../../../core/transport.ts'
import type { RedisContext } from '../context.ts'
import type { Credit } from './credit.ts'
import type { EntryReader } from '../wire/mapping.ts'

/** What the parts of one subscription share. */
export interface MemberContext {
  readonly context: RedisContext
  readonly spec: SubscriptionSpec
  /** The name of the consumer in Redis: that of its reader, which members of a group with other topics may share. */
  readonly consumer: string
  /** Each partition is read by one member at a time; otherwise all read all. */
  readonly owned: boolean
  readonly entries: EntryReader
  readonly closed: boolean
  readonly credit: Credit
  /** A source became readable, or there is something to claim. */
  wake(): void
  /** Reports an error, unless it is caused by the connection, which is reported itself, or comes after the end. */
  reportError(error: unknown, doing: string): void
}
