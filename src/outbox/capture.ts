import type { EncodedMessage } from '../core/message.ts'
import { ConfigurationError, StateError } from '../core/errors.ts'
import type { PublishCall, PublishCallItem, PublishMiddleware } from '../core/publish/publish-middleware.ts'
import type { PublishResult } from '../core/publish/publish-options.ts'
import { compilePattern, topicProblem } from '../core/topic.ts'
import { OptionsReader } from '../core/util/options-reader.ts'

/** Options of `outbox.capture`. */
export interface CaptureOptions {
  /**
   * What becomes of a publish outside of a transaction: `when-present` sends it to the broker, `required` refuses it with a
   * `StateError`. Required.
   */
  readonly mode: 'when-present' | 'required'
  /** Topics and patterns to capture. Default: all. */
  readonly topics?: readonly string[] | undefined
}

/** Writes one message of a captured call. Undefined when no transaction is open. */
export type CaptureOne = (call: PublishCall, item: PublishCallItem) => Promise<void>

export function captureMiddleware(
  options: CaptureOptions,
  isInTransaction: () => boolean,
  captureOne: CaptureOne,
): PublishMiddleware {
  const reader = new OptionsReader('outbox.capture', options, "{ mode: 'required' }")
  if (!reader.has('mode')) reader.problem('mode', `is required: "when-present" or "required"`)
  const mode = reader.oneOf('mode', ['when-present', 'required'], 'required')
  const topics = reader.list('topics') as readonly string[]
  for (const [index, topic] of topics.entries()) {
    const problem = topicProblem(topic, true)
    if (problem !== undefined) reader.problem(`topics.${index}`, problem)
  }
  reader.done()
  const matches = topics.map(compilePattern)
  const isCaptured = ({ topic }: PublishCall): boolean => matches.length === 0 || matches.some((match) => match(topic))
  return (next) => async (call) => {
    // The outbox itself encodes with the bus; that, and what has another purpose, passes.
    if (call.mode === 'encode' || !isCaptured(call)) return next(call)
    if (!isInTransaction()) {
      if (mode === 'when-present') return next(call)
      throw new StateError(
        `"${call.topic}" is published through the outbox only, and no transaction is open here: publish inside of outbox.within(tx, …) or of a unit of work, or call outbox.publish(tx, …)`,
      )
    }
    const results: PublishResult[] = []
    for (const item of call.items) {
      if (item.transform !== undefined) throw notFirst()
      await captureOne(call, item)
      results.push({ id: item.id, position: undefined })
    }
    return results
  }
}

/** What a message continues when its publish was captured in a handler. */
export function conversationOf(
  handled: EncodedMessage | undefined,
): Partial<Record<'correlationId' | 'causationId' | 'traceparent' | 'tracestate', string | undefined>> {
  if (handled === undefined) return {}
  const { id, correlationId, traceparent, tracestate } = handled
  return { correlationId: correlationId ?? id, causationId: id, traceparent, tracestate }
}

/** The message is encoded by another call, which passes all middleware: what had been done by then would be done twice. */
function notFirst(): ConfigurationError {
  return new ConfigurationError('createBus', [
    {
      path: 'publishMiddleware',
      message: 'put outbox.capture(…) first: another middleware has changed the message already',
    },
  ])
}
