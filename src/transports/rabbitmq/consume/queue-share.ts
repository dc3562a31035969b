import type { ResolvedConsumerOptions } from './consumer-options.ts'

/** What one queue may take of a limit of its consumer: its part, and one more so that rounding does not starve a single busy one. */
export function shareOf(limit: number, queues: number): number {
  return queues === 1 ? limit : Math.ceil(limit / queues) + 1
}

/** An option of the consumer that limits how many messages the broker sends ahead. */
export interface AheadLimit {
  readonly option: 'prefetch' | 'native.prefetch' | 'native.maxBuffered'
  readonly value: number
}

/** Messages that are here. */
export interface MessagesHere {
  /** Number of them with the runtime. */
  readonly handed: number
  /** How many of them, on average, would be as large as the consumer's `prefetchBytes`. */
  readonly fitting: number
  /** Queues of the subscription. */
  readonly queues: number
  /** Queues that this process takes messages from. */
  readonly reading: number
}

/** The option that counts, with the largest value that keeps to `prefetchBytes`; undefined when none does. */
export function aheadLimit(
  options: Pick<ResolvedConsumerOptions, 'noAck' | 'prefetch' | 'maxBuffered'>,
  { handed, fitting, queues, reading }: MessagesHere,
): AheadLimit | undefined {
  // The inverse of `shareOf`, for what all queues that are read take together.
  const limitFor = (most: number): number => (queues === 1 ? most : queues * (Math.floor(most / reading) - 1))
  let limit: AheadLimit
  if (options.noAck) {
    // What the runtime has comes on top of it.
    limit = { option: 'native.maxBuffered', value: limitFor(fitting - handed) }
    // What was on its way exceeded a limit that is low enough already.
    if (limit.value >= options.maxBuffered) return undefined
  } else if (options.prefetch === undefined) limit = { option: 'prefetch', value: limitFor(fitting) }
  else limit = { option: 'native.prefetch', value: Math.floor(fitting / reading) }
  return limit.value < 1 ? undefined : limit
}
