import { ValidationError } from './errors.ts'
import { NO_HEADERS } from './message.ts'
import type { Headers } from './message.ts'

/** Names and values together. Brokers set limits of their own; this one keeps a header from being used as a body. */
export const MAX_HEADER_BYTES = 16_384

// RFC 9110 tokens: what every broker and proxy carries unharmed.
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const FORBIDDEN_IN_VALUE = /[\u0000-\u0008\u000a-\u001f\u007f]/
/** Written by Busbar or a binding; a user's header of that name would be mistaken for it. */
const RESERVED = /^(ce[_-]|cloudevents[:_]|traceparent$|tracestate$|content-type$|__proto__$)/i

/** What Busbar notes about one message's past (`busbar-dlq-…`, `busbar-redrives`). It says nothing about another message. */
export const OWN_PREFIX = 'busbar-'

/**
 * Copies and checks the headers of a publish. Throws one `ValidationError` with everything that is wrong. `busbar-` headers
 * are left out, so that a handler may pass on the headers of a message that was redriven.
 */
export function checkHeaders(headers: Readonly<Record<string, string>>): Headers {
  const issues: { path: string; message: string }[] = []
  const checked = Object.create(null) as Record<string, string>
  let bytes = 0
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(OWN_PREFIX)) continue
    const problem = headerProblem(name, value)
    if (problem !== undefined) {
      issues.push({ path: JSON.stringify(name.slice(0, 60)), message: problem })
      continue
    }
    checked[name] = value
    bytes += name.length + Buffer.byteLength(value)
  }
  if (bytes > MAX_HEADER_BYTES)
    issues.push({
      path: '',
      message: `together they take ${bytes} bytes, the limit is ${MAX_HEADER_BYTES}: put the data into the body`,
    })
  if (issues.length > 0) throw new ValidationError("The headers can't be sent", issues)
  return bytes === 0 ? NO_HEADERS : checked
}

function headerProblem(name: string, value: unknown): string | undefined {
  if (!NAME.test(name)) return 'is no header name: use letters, digits and "-", no spaces or control characters'
  if (RESERVED.test(name))
    return 'is reserved: use another name (trace context and content type have options of their own)'
  if (typeof value !== 'string') return `must be a string, got ${value === null ? 'null' : typeof value}`
  if (FORBIDDEN_IN_VALUE.test(value)) return 'holds a line break, NUL or other control character'
  if (!value.isWellFormed()) return 'holds half a surrogate pair and has no UTF-8 form'
  return undefined
}
