import { OptionsReader } from '../core/util/options-reader.ts'
import type { OutboxStore } from './store.ts'

/** Options of `outboxRelay`. */
export interface OutboxRelayOptions {
  /** The tables: `postgresOutboxStore({ client })`. Required. */
  readonly store: OutboxStore
  /**
   * When to look for rows. `poll`: 20 ms after there was something, then less often, up to once in `maxPollMs`. `notify`: like that,
   * and at once when a writer with `notify: true` commits; needs a connection for LISTEN. @default 'poll'
   */
  readonly trigger?: 'poll' | 'notify' | undefined
  /** Pause between two looks while there is something to do, in ms. @default 20 */
  readonly minPollMs?: number | undefined
  /** Longest pause, in ms. @default 1_000 */
  readonly maxPollMs?: number | undefined
  /** Most rows of one read. The relay holds up to twice as many. @default 1_000 */
  readonly batchSize?: number | undefined
  /** Most bytes of one read, beyond its first row. @default 8 MiB */
  readonly maxBatchBytes?: number | undefined
  /** How long a relay keeps its shards after its last sign of life, in ms: what waits for a relay that has died. @default 15_000 */
  readonly leaseMs?: number | undefined
  /**
   * How often a row is tried that the broker refuses for good, such as one that is too large. Then it is parked. Failures that may
   * pass, such as a broker that is down, don't count. @default 5
   */
  readonly maxAttempts?: number | undefined
  /** Pause before the second of these attempts, in ms; doubled with each, up to a minute. @default 1_000 */
  readonly retryMs?: number | undefined
  /** What becomes of the other rows of a key when one is parked: they go on, or wait until it is requeued or discarded. @default 'continue' */
  readonly afterPark?: 'continue' | 'hold' | undefined
  /** Rows that wait for longer make the relay unhealthy, in ms. @default 30_000 */
  readonly stallMs?: number | undefined
}

export interface ResolvedRelayOptions {
  readonly store: OutboxStore
  readonly trigger: 'poll' | 'notify'
  readonly minPollMs: number
  readonly maxPollMs: number
  readonly batchSize: number
  readonly maxBatchBytes: number
  readonly leaseMs: number
  readonly maxAttempts: number
  readonly retryMs: number
  readonly afterPark: 'continue' | 'hold'
  readonly stallMs: number
}

export function resolveRelayOptions(options: OutboxRelayOptions): ResolvedRelayOptions {
  const reader = new OptionsReader('outboxRelay()', options, 'outboxRelay({ store })')
  if (!reader.has('store')) reader.problem('store', 'is required, such as postgresOutboxStore({ client })')
  const store = reader.withMethods<OutboxStore>('store', ['heartbeat', 'read', 'remove', 'fail'])
  const trigger = reader.oneOf('trigger', ['poll', 'notify'], 'poll')
  if (trigger === 'notify' && store !== undefined && store.listen === undefined)
    reader.problem('trigger', '"notify" is for PostgreSQL: this store has no notifications')
  const minPollMs = reader.integer('minPollMs', 20, { min: 1 })
  const rest = {
    maxPollMs: reader.integer('maxPollMs', Math.max(1_000, minPollMs), { min: minPollMs }),
    batchSize: reader.integer('batchSize', 1_000, { min: 1, max: 10_000 }),
    maxBatchBytes: reader.integer('maxBatchBytes', 8 * 1024 * 1024, { min: 1 }),
    leaseMs: reader.integer('leaseMs', 15_000, { min: 500 }),
    maxAttempts: reader.integer('maxAttempts', 5, { min: 1 }),
    retryMs: reader.integer('retryMs', 1_000, { min: 1 }),
    afterPark: reader.oneOf('afterPark', ['continue', 'hold'], 'continue'),
    stallMs: reader.integer('stallMs', 30_000, { min: 1 }),
  }
  reader.done()
  return Object.freeze({ store: store as OutboxStore, trigger, minPollMs, ...rest })
}
