import type { BatchConsumeOptions, ConsumeOptions } from './consume/consume-options.ts'
import type { AnyEventDefinition, EventDefinition } from './define.ts'
import type { EventSet, EventSetBatchHandler, EventSetHandler } from './event-set.ts'
import type { BatchHandler, Handler } from './handler.ts'

/** A consumer defined apart from the bus, with a handler for single messages. */
export interface SingleConsumerDefinition<Data = unknown> extends ConsumeOptions<Data> {
  readonly handle: Handler<Data>
  readonly handleBatch?: undefined
}

/** A consumer defined apart from the bus, with a batch handler. */
export interface BatchConsumerDefinition<Data = unknown> extends BatchConsumeOptions<Data> {
  readonly handleBatch: BatchHandler<Data>
  readonly handle?: undefined
}

/** A consumer defined apart from the bus. Pass it to `createBus({ consumers: [...] })` or `bus.consume(definition)`. */
export type ConsumerDefinition<Data = unknown> = SingleConsumerDefinition<Data> | BatchConsumerDefinition<Data>

/** A consumer definition of any data type, as the bus takes it. */
// oxlint-disable-next-line typescript/no-explicit-any -- see AnyEventDefinition
export type AnyConsumerDefinition = ConsumerDefinition<any> & {
  readonly topic: string | AnyEventDefinition | EventSet
}

// TypeScript's errors explain the last overload, so the most common one comes last.
/** A topic without a definition: its data is `unknown`. */
export function defineConsumer(definition: ConsumerDefinition & { readonly topic: string }): AnyConsumerDefinition
/** Several events: see `defineEvents`. */
export function defineConsumer<Data>(
  definition: (
    | (Omit<SingleConsumerDefinition<Data>, 'handle'> & { readonly handle: EventSetHandler<Data> })
    | (Omit<BatchConsumerDefinition<Data>, 'handleBatch'> & { readonly handleBatch: EventSetBatchHandler<Data> })
  ) & { readonly topic: EventSet<Data> },
): AnyConsumerDefinition
/**
 * Defines a consumer apart from the bus, with typed messages. Its options are checked when it is added to a bus.
 *
 *     export const billing = defineConsumer({ topic: OrderPlaced, concurrency: 10, handle: async (message) => charge(message.data) })
 */
export function defineConsumer<Input, Output>(
  definition: ConsumerDefinition<Output> & { readonly topic: EventDefinition<Input, Output> },
): AnyConsumerDefinition
export function defineConsumer(definition: object): AnyConsumerDefinition {
  return Object.freeze({ ...definition }) as AnyConsumerDefinition
}
