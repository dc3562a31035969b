import { COMPACT_MARK } from './compact-envelope.ts'
import { ValidationError } from './errors.ts'
import { NO_HEADERS } from './message.ts'
import type { Headers } from './message.ts'

/** Limit for names and values together. Brokers have other limits; this one keeps headers from being used as a body. */
const MAX_HEADER_BYTES = 16_384

// RFC 9110 tokens: what every broker and proxy carries unharmed.
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const FORBIDDEN_IN_VALUE = /[\u0000-\u0008\u000a-\u001f\u007f]/
/** Written by Busbar or a binding; a user's header with such a name would be mistaken for it. */
const RESERVED = /^(ce[_-]|cloudevents[:_]|traceparent$|tracestate$|content-type$|busbar$|__proto__$)/i

/**
 * Prefix of headers that carry CloudEvents extension attributes. NATS and Redis use the same form for attributes of the
 * envelope, so no extension may have the name of one of these.
 */
export const EXTENSION_PREFIX = 'ce-'
const EXTENSION_HEADER = /^ce-[a-z0-9]+$/
const EXTENSION_NAME = /^[a-z0-9]{1,20}$/
/** Attributes with their own field in the envelope, or their own option. */
const ATTRIBUTES: ReadonlySet<string> = new Set([
  'specversion',
  'id',
  'type',
  'source',
  'time',
  'data',
  'datacontenttype',
  'dataschema',
  'dataversion',
  'subject',
  'partitionkey',
  'correlationid',
  'causationid',
  'expirytime',
  'traceparent',
  'tracestate',
])

/** True for a header that holds a CloudEvents extension attribute. */
export function isExtensionHeader(name: string): boolean {
  return EXTENSION_HEADER.test(name) && !ATTRIBUTES.has(name.slice(EXTENSION_PREFIX.length))
}

/**
 * Prefix of headers about the history of one message (`busbar-dlq-…`, `busbar-redrives`). They don't apply to any other
 * message.
 */
export const OWN_PREFIX = 'busbar-'
/** Every dead letter has this header, and no other message. */
export const DEAD_LETTER_REASON = 'busbar-dlq-reason'

/**
 * Copies and checks the headers and extension attributes of a publish. Throws one `ValidationError` with all problems. Drops
 * `busbar` and `busbar-` headers, so that a handler can forward the headers of a redriven message.
 */
export function checkHeaders(
  headers: Readonly<Record<string, string>> | undefined,
  extensions?: Readonly<Record<string, string>>,
): Headers {
  const issues: { path: string; message: string }[] = []
  const checked = Object.create(null) as Record<string, string>
  let bytes = 0
  const add = (name: string, value: string): void => {
    checked[name] = value
    bytes += name.length + Buffer.byteLength(value)
  }
  for (const [name, value] of Object.entries(headers ?? {})) {
    if (name.startsWith(OWN_PREFIX) || name === COMPACT_MARK) continue
    const problem = nameProblem(name) ?? valueProblem(value)
    if (problem === undefined) add(name, value)
    else issues.push({ path: JSON.stringify(name.slice(0, 60)), message: problem })
  }
  for (const [name, value] of Object.entries(extensions ?? {})) {
    const problem = extensionProblem(name) ?? valueProblem(value)
    if (problem === undefined) add(`${EXTENSION_PREFIX}${name}`, value)
    else issues.push({ path: `extensions.${JSON.stringify(name.slice(0, 60))}`, message: problem })
  }
  if (bytes > MAX_HEADER_BYTES)
    issues.push({
      path: '',
      message: `together they take ${bytes} bytes, the limit is ${MAX_HEADER_BYTES}: put the data into the body`,
    })
  if (issues.length > 0) throw new ValidationError("The headers can't be sent", issues)
  return bytes === 0 ? NO_HEADERS : checked
}

function nameProblem(name: string): string | undefined {
  if (!NAME.test(name)) return 'is not a header name: use letters, digits and "-", no spaces or control characters'
  if (RESERVED.test(name) && !isExtensionHeader(name))
    return 'is reserved: use another name (trace context and content type have options of their own)'
  return undefined
}

function extensionProblem(name: string): string | undefined {
  if (ATTRIBUTES.has(name)) return 'is an attribute of the envelope, not an extension: use its own option'
  if (!EXTENSION_NAME.test(name)) return 'must be 1 to 20 lower-case letters and digits'
  return undefined
}

function valueProblem(value: unknown): string | undefined {
  if (typeof value !== 'string') return `must be a string, got ${value === null ? 'null' : typeof value}`
  if (FORBIDDEN_IN_VALUE.test(value)) return 'contains a line break, NUL or another control character'
  if (!value.isWellFormed()) return 'contains half a surrogate pair, which has no UTF-8 form'
  return undefined
}
