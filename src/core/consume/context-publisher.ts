import type { AnyEventDefinition } from '../define.ts'
import type { EncodedMessage } from '../message.ts'
import type {
  PublishItem,
  PublishManyOptions,
  PublishOptions,
  PublishReceipt,
  PublishResult,
} from '../publish/publish-options.ts'

/** How a handler publishes: through the bus, with the handled message as `parent`. */
export interface ContextPublisher {
  publish(
    target: string | AnyEventDefinition,
    data: unknown,
    options: PublishOptions | undefined,
    parent: EncodedMessage,
  ): Promise<PublishReceipt>
  publishMany(
    target: string | AnyEventDefinition,
    items: readonly PublishItem[],
    options: PublishManyOptions | undefined,
    parent: EncodedMessage,
  ): Promise<readonly PublishResult[]>
}
