import type { Handler, HandlerContext, Middleware } from '../core/handler.ts'
import type { Logger } from '../core/logger.ts'
import type { Message } from '../core/message.ts'
import { OptionsReader } from '../core/util/options-reader.ts'
import { notify } from '../core/util/notify.ts'
import { isNotNow } from './not-now.ts'
import { observe } from './observe.ts'

/** Options of `logger`. */
export interface LoggerOptions {
  /** pino, or any logger with the same methods. Required. */
  readonly logger: Logger
  /** Level of all lines but failures, which are always `warn`. Default `debug`. */
  readonly level?: 'debug' | 'info' | undefined
}

/**
 * Logs each attempt: `message received`, then `message handled` or `message failed` with `durationMs`, or `message delayed`
 * when it was returned with `ctx.retry({ countAttempt: false })`. Every line has topic, group, id, correlationId and attempt; a
 * failure has the error as `err`. Bodies, keys and header values are never logged.
 *
 * A logger that throws does not affect the message: the error becomes a process warning (`BUSBAR_CALLBACK`).
 *
 *     createBus({ service, transport, middleware: [logger({ logger: pino() })] })
 *
 * Throws `ConfigurationError` for invalid options.
 */
export function logger(options: LoggerOptions): Middleware {
  const reader = new OptionsReader('logger()', options, 'logger({ logger })')
  if (!reader.has('logger'))
    reader.problem('logger', 'is required: pino, or an object with debug, info, warn and error')
  // done() throws when it is missing.
  const log = reader.withMethods<Logger>('logger', ['debug', 'info', 'warn', 'error']) as Logger
  const level = reader.oneOf('level', ['debug', 'info'], 'debug')
  reader.done()
  const write = (at: 'debug' | 'info' | 'warn', fields: object, text: string): void => {
    notify('the logger given to logger()', () => log[at](fields, text))
  }
  return (next: Handler): Handler =>
    (message, ctx) => {
      const start = ctx.clock.monotonic()
      write(level, fieldsOf(message, ctx), 'message received')
      return observe(next, message, ctx, {
        succeeded() {
          write(level, { ...fieldsOf(message, ctx), durationMs: since(start, ctx) }, 'message handled')
        },
        failed(error) {
          const fields = { ...fieldsOf(message, ctx), durationMs: since(start, ctx), err: error }
          if (isNotNow(error)) write(level, fields, 'message delayed')
          else write('warn', fields, 'message failed')
        },
      })
    }
}

function fieldsOf(message: Message, ctx: HandlerContext): object {
  return {
    topic: message.topic,
    group: ctx.group,
    id: message.id,
    correlationId: message.correlationId,
    attempt: ctx.attempt,
  }
}

/** Rounded to microseconds: more digits only clutter a log. */
function since(start: number, ctx: HandlerContext): number {
  return Math.round((ctx.clock.monotonic() - start) * 1000) / 1000
}
