import type { AsyncCodec, Codec } from './codec.ts'
import { ConfigurationError } from './errors.ts'
import { closest, OptionsReader } from './util/options-reader.ts'
import type { StandardSchema } from './standard-schema.ts'
import { topicProblem } from './topic.ts'

/** Options of `defineEvent`. */
export interface EventOptions<Input> {
  /**
   * Computes the key of a message. Messages with the same key are handled one at a time, in the order they were published.
   * Default: no key.
   */
  readonly key?: ((data: Input) => string) | undefined
  /**
   * CloudEvents `type` of its messages. Tells events of one topic apart: see `defineEvents`. Default: the topic.
   */
  readonly type?: string | undefined
  /** Version of the data's shape, 1 or higher. Sent with every message. Default 1. */
  readonly version?: number | undefined
  /** CloudEvents `dataschema` of every message: the URI of the schema, for readers that resolve it. */
  readonly dataSchema?: string | undefined
  /** Description of the event for people. Not sent. */
  readonly description?: string | undefined
  /** Team that answers for the event, for people and for `bus.snapshot()`. Not sent. */
  readonly owner?: string | undefined
  /** `public`: other teams may consume it, so its shape is a contract. For people and tools; not sent. Default `internal`. */
  readonly visibility?: 'internal' | 'public' | undefined
  /**
   * Encodes the data on publish. Consumers decode with the codecs of their bus, so add a codec of your own to `createBus({
   * codecs })`. Default: JSON, or bytes for a `Uint8Array`.
   */
  readonly codec?: Codec | AsyncCodec | undefined
}

/** A topic and the type of its data. Create one with `defineEvent`. */
export interface EventDefinition<Input = unknown, Output = Input> {
  readonly topic: string
  readonly schema: StandardSchema<Input, Output> | undefined
  /** Computes the key of a message; undefined when its messages have none. */
  readonly key: ((data: Input) => string) | undefined
  readonly type: string
  readonly version: number
  readonly dataSchema: string | undefined
  readonly description: string | undefined
  readonly owner: string | undefined
  readonly visibility: 'internal' | 'public'
  readonly codec: Codec | AsyncCodec | undefined
}

/** Any event definition, whatever its data types. */
// oxlint-disable-next-line typescript/no-explicit-any -- the only type that every EventDefinition<I, O> is assignable to
export type AnyEventDefinition = EventDefinition<any, any>

/**
 * Defines an event: its topic and its data. With a schema (zod, valibot, arktype, or any other Standard Schema), data is
 * validated on publish, where invalid data throws to the caller, and on consume, where it is dead-lettered. You publish the
 * schema's *input*; handlers get its *output*, with defaults and transformations applied.
 *
 *     const OrderPlaced = defineEvent('orders.placed', z.object({ orderId: z.string(), total: z.number() }), {
 *       key: (order) => order.orderId, // events of one order are handled in order
 *     })
 *     await bus.publish(OrderPlaced, { orderId: 'ord-1', total: 42 })
 *
 * Throws `ConfigurationError` for an invalid topic, schema or option.
 */
export function defineEvent<Input, Output>(
  topic: string,
  schema: StandardSchema<Input, Output>,
  options?: EventOptions<NoInfer<Input>>,
): EventDefinition<Input, Output>
/** Without a schema, TypeScript trusts the type you give, and nothing is validated. */
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
    type: reader.string('type', topic),
    version: reader.integer('version', 1, { min: 1, max: 999_999_999 }),
    dataSchema: reader.string('dataSchema', undefined),
    description: reader.string('description', undefined),
    owner: reader.string('owner', undefined),
    visibility: reader.oneOf('visibility', ['internal', 'public'], 'internal'),
    codec: reader.withMethods<Codec | AsyncCodec>('codec', ['encode', 'decode']),
  }
  reader.done()
  return Object.freeze(definition)
}

const EVENT_OPTIONS = ['key', 'type', 'version', 'dataSchema', 'description', 'owner', 'visibility', 'codec']

/** True for an object without any known option: a JSON Schema, a class, a schema of an old library. */
function looksLikeSchema(value: unknown): boolean {
  if (typeof value === 'function') return true
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const keys = Object.keys(value)
  const isPlain = Object.getPrototypeOf(value) === Object.prototype || Object.getPrototypeOf(value) === null
  if (!isPlain) return true
  // A JSON Schema has a `type`, too.
  const others = keys.filter((key) => key !== 'type')
  // A typo gets a "did you mean" instead.
  return others.length > 0 && !others.some((key) => closest(key, EVENT_OPTIONS) !== undefined)
}

function isStandardSchema(value: unknown): value is StandardSchema {
  // arktype's schemas are functions.
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false
  return '~standard' in value
}
