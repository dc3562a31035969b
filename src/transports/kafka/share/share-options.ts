import { UnsupportedError } from '../../../core/errors.ts'
import type { SubscriptionSpec } from '../../../core/transport.ts'
import { OptionsReader } from '../../../core/util/options-reader.ts'

/** `native` of a consumer on Kafka. */
export interface KafkaConsumeOptions {
  /**
   * Experimental, not yet run through the conformance suite. Reads with a share group (Kafka 4.2): members share single messages, in no order, and there may be more of them than partitions. Needs
   * `order: 'none'`. An object has options of that. Default false.
   */
  readonly share?: boolean | KafkaShareOptions | undefined
}

/** Options of `native.share`. */
export interface KafkaShareOptions {
  /**
   * How many messages are acquired beyond those that handlers can take at once. Each one has used up a delivery, even if this process closes
   * or dies before its handler starts: more is faster with short handlers, and wastes more deliveries. Default 0.
   */
  readonly acquireAhead?: number | undefined
}

export interface ResolvedShareOptions {
  readonly acquireAhead: number
}

const MAX_AHEAD = 10_000

/** Undefined for a consumer without a share group. Throws for what is wrong, or does not go with one. */
export function readShareOptions(spec: SubscriptionSpec): ResolvedShareOptions | undefined {
  const subject = `The consumer of "${spec.topic}"`
  const outer = new OptionsReader(subject, { native: spec.native })
  const reader = outer.nested('native')
  const share = reader.raw('share')
  let acquireAhead = 0
  if (typeof share === 'object' && share !== null)
    acquireAhead = reader.nested('share').integer('acquireAhead', 0, { max: MAX_AHEAD })
  else if (share !== undefined && typeof share !== 'boolean')
    reader.problem('share', 'must be true, false, or an object with options')
  outer.done()
  if (share === undefined || share === false) return undefined
  refuse(spec)
  return { acquireAhead }
}

function refuse({ topic, order, ephemeral, guarantee }: SubscriptionSpec): void {
  const because = (what: string): never => {
    throw new UnsupportedError(`native.share can't be used for the consumer of "${topic}": ${what}`)
  }
  if (order !== 'none')
    because(`a share group keeps no order, and this consumer has order: '${order}'; say order: 'none'`)
  if (ephemeral) because('a broadcast has no group; leave out one of the two')
  if (guarantee !== undefined)
    because(`verdicts of a share group can't be part of a transaction, as guarantee: '${guarantee}' needs`)
}
