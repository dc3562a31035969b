import type { Codec } from './codec.ts'
import type { BatchConsumeOptions, ConsumeOptions } from './consume-options.ts'
import { ConfigurationError } from './errors.ts'
import type { Handler, BatchHandler } from './handler.ts'
import { closest, OptionsReader } from './options.ts'
import type { StandardSchema } from './standard-schema.ts'
import { topicProblem } from './topic.ts'

export interface EventOptions<Input> {
  /** What must stay in order: messages of one key are handled one at a time, in the order of publication. */
  readonly key?: ((data: Input) => string) | undefined
  /** Version of the shape, from 1. Default 1. */
  readonly version?: number | undefined
  /** CloudEvents `dataschema` of every message: the URI of the schema, for readers that look it up. */
  readonly dataSchema?: string | undefined
  /** For the catalogue. */
  readonly description?: string | undefined
  /** Default: JSON. */
  readonly codec?: Codec | undefined
}

/** A topic with the type of its data. Make one with `defineEvent`. */
export interface EventDefinition<Input = unknown, Output = Input> {
  readonly topic: string
  readonly schema: StandardSchema<Input, Output> | undefined
  readonly key: ((data: Input) => string) | undefined
  readonly version: number
  readonly dataSchema: string | undefined
  readonly description: string | undefined
  readonly codec: Codec | undefined
}

/** Any definition. `never` in: a definition of one type of data is no definition of another one. */
// oxlint-disable-next-line typescript/no-explicit-any -- the only type that every EventDefinition<I, O> is assignable to
export type AnyEventDefinition = EventDefinition<any, any>

/**
 * Names an event and its data. With a schema (zod, valibot, arktype, any Standard Schema), data is validated on publish,
 * where a misfit throws to the caller, and on consume, where it is dead-lettered. What is published is the schema's
 * *input*; a handler gets its *output*, with defaults and transformations applied.
 *
 *     const OrderPlaced = defineEvent('orders.placed', z.object({ orderId: z.string() }), { key: (o) => o.orderId })
 *
 * Throws `ConfigurationError`.
 */
export function defineEvent<Input, Output>(
  topic: string,
  schema: StandardSchema<Input, Output>,
  options?: EventOptions<NoInfer<Input>>,
): EventDefinition<Input, Output>
/** Without a schema: the type is the caller's word, and nothing is validated. */
export function defineEvent<Data>(topic: string, options?: EventOptions<Data>): EventDefinition<Data>
export function defineEvent(topic: string, schemaOrOptions?: unknown, maybeOptions?: unknown): AnyEventDefinition {
  const hasSchema = isStandardSchema(schemaOrOptions)
  const subject = `defineEvent(${JSON.stringify(topic)})`
  if (maybeOptions !== undefined && !hasSchema) {
    throw new ConfigurationError(subject, [
      { path: 'schema', message: 'must be a Standard Schema (zod, valibot, arktype ...): it has no "~standard"' },
    ])
  }
  if (!hasSchema && looksLikeSchema(schemaOrOptions)) {
    throw new ConfigurationError(subject, [
      {
        path: 'schema',
        message: `is neither a Standard Schema (zod 3.24 or newer, valibot, arktype ...: it has no "~standard") nor options (${EVENT_OPTIONS.join(', ')})`,
      },
    ])
  }
  const reader = new OptionsReader(subject, hasSchema ? maybeOptions : schemaOrOptions)
  const problem = topicProblem(topic, false)
  if (problem !== undefined) reader.problem('topic', problem)
  const definition: AnyEventDefinition = {
    topic,
    schema: hasSchema ? schemaOrOptions : undefined,
    key: reader.callable<(data: unknown) => string>('key'),
    version: reader.integer('version', 1, { min: 1, max: 999_999_999 }),
    dataSchema: reader.string('dataSchema', undefined),
    description: reader.string('description', undefined),
    codec: reader.withMethods<Codec>('codec', ['encode', 'decode']),
  }
  reader.done()
  return Object.freeze(definition)
}

const EVENT_OPTIONS = ['key', 'version', 'dataSchema', 'description', 'codec']

/** Something with members of which not one is an option: a JSON Schema, a class, a schema of an old library. */
function looksLikeSchema(value: unknown): boolean {
  if (typeof value === 'function') return true
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const keys = Object.keys(value)
  const isPlain = Object.getPrototypeOf(value) === Object.prototype || Object.getPrototypeOf(value) === null
  if (!isPlain) return true
  // A slip of the pen gets its "did you mean".
  return keys.length > 0 && !keys.some((key) => closest(key, EVENT_OPTIONS) !== undefined)
}

export function isStandardSchema(value: unknown): value is StandardSchema {
  // arktype's schemas are functions.
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false
  return '~standard' in value
}

/** A consumer kept in a file of its own. Hand it to `createBus({ consumers: [...] })` or `bus.consume(definition)`. */
export interface ConsumerDefinition<Data = unknown> extends Omit<ConsumeOptions, 'batch'> {
  readonly topic: string
  readonly handle?: Handler<Data> | undefined
  readonly handleBatch?: BatchHandler<Data> | undefined
  /** Required with `handleBatch`. */
  readonly batch?: BatchConsumeOptions['batch'] | undefined
}

/** A consumer definition whose data type is no longer of interest: what the bus takes. */
// oxlint-disable-next-line typescript/no-explicit-any -- see AnyEventDefinition
export type AnyConsumerDefinition = Omit<ConsumerDefinition<any>, 'topic'> & {
  readonly topic: string | AnyEventDefinition
}

/**
 * Types a consumer that lives apart from the bus. Options are checked when the bus takes it.
 *
 *     export const billing = defineConsumer({ topic: OrderPlaced, concurrency: 10, handle: async (message) => charge(message.data) })
 */
export function defineConsumer<Input, Output>(
  definition: Omit<ConsumerDefinition<Output>, 'topic'> & { readonly topic: EventDefinition<Input, Output> },
): AnyConsumerDefinition
export function defineConsumer(definition: ConsumerDefinition): AnyConsumerDefinition
export function defineConsumer(definition: AnyConsumerDefinition): AnyConsumerDefinition {
  return Object.freeze({ ...definition })
}
