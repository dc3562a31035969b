import type { OutgoingMessage } from '../../../core/message.ts'
import { isDeadLetterTopic } from '../../../core/topic.ts'
import { OptionsReader } from '../../../core/util/options-reader.ts'
import type { ProducerOptions } from '../../../kafka/index.ts'
import { LETTERS_PARTITION } from '../topology/topics.ts'

/** `native` of a publish on Kafka. */
export interface KafkaPublishOptions {
  /**
   * The partition to write to. Default: the partitioner's choice, by the key. Messages of one key in several partitions have no order.
   */
  readonly partition?: number | undefined
  /** As the transport's option, for this message. Messages with other `acks` or `ackTimeoutMs` have no order among each other. */
  readonly acks?: 'all' | 1 | 0 | undefined
  /** As the transport's option, for this message, in ms. */
  readonly ackTimeoutMs?: number | undefined
}

/** What a producer does for all of its messages. */
export type AckOptions = Pick<ProducerOptions, 'acks' | 'ackTimeoutMs'>

/** Throws a `ConfigurationError` with everything that is wrong with them. */
export function checkPublishOptions(native: unknown): void {
  const outer = new OptionsReader('publish', { native })
  const reader = outer.nested('native')
  reader.integer('partition', undefined, { max: 2_147_483_647 })
  const acks = reader.raw('acks')
  if (acks !== undefined && acks !== 'all' && acks !== 0 && acks !== 1) reader.problem('acks', 'must be "all", 1 or 0')
  reader.integer('ackTimeoutMs', undefined, { min: 1, max: 2_147_483_647 })
  outer.done()
}

/** Where the message must go; undefined if the partitioner chooses. */
export function partitionOf({ topic, native }: OutgoingMessage): number | undefined {
  if (isDeadLetterTopic(topic)) return LETTERS_PARTITION
  return (native as KafkaPublishOptions | undefined)?.partition
}

/** Undefined if the message has no options of its own. */
export function ackOptionsOf({ native }: OutgoingMessage): AckOptions | undefined {
  const { acks, ackTimeoutMs } = (native ?? {}) as KafkaPublishOptions
  return acks === undefined && ackTimeoutMs === undefined ? undefined : { acks, ackTimeoutMs }
}
