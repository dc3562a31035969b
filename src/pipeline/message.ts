import type { AnyEventDefinition } from '../core/define.ts'
import type { Message } from '../core/message.ts'
import type { PublishOptions, PublishReceipt } from '../core/publish/publish-options.ts'

/** What the functions of a pipeline get beside the data. */
export interface PipelineMessage<Data = unknown> {
  /** That of the source's message; of what a stage made from it, followed by `/0`, `/1` and so on. The same after a redelivery. */
  readonly id: string
  readonly data: Data
  readonly key: string | undefined
  /** Attempt number of the source's message, from 1. */
  readonly attempt: number
  /** Aborts when the broker takes the message back, when its deadline has passed, or when the time of a close is up. */
  readonly signal: AbortSignal
  /** The message as it came from its topic; undefined for the element of an iterable. */
  readonly source: Message | undefined
  /** Publishes with the message as its cause. Rejects with a `StateError` in a pipeline without a bus. */
  publish(target: string | AnyEventDefinition, data: unknown, options?: PublishOptions): Promise<PublishReceipt>
}

/** Why a batch was closed. `pressure`: nothing more could come before it was handled. */
export type BatchTrigger = 'size' | 'bytes' | 'until' | 'timeout' | 'pressure' | 'drain'

/** Messages that were gathered. */
export interface Batch<Data = unknown> {
  readonly items: readonly PipelineMessage<Data>[]
  readonly data: readonly Data[]
  /** Result of the option `key`; empty without it. */
  readonly key: string
  readonly trigger: BatchTrigger
}
