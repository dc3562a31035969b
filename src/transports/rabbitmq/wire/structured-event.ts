const STRUCTURED = /^application\/cloudevents\+json\b/i
const JSON_TYPE = 'application/json'

/** A parsed CloudEvent that came as one JSON document. */
export interface StructuredEvent {
  readonly attributes: Readonly<Record<string, unknown>>
  readonly contentType: string
  readonly body: Buffer
}

/** Undefined for everything that is not a single event in CloudEvents' structured mode: that is accepted as it is. */
export function readStructured(contentType: string, content: Buffer): StructuredEvent | undefined {
  if (!STRUCTURED.test(contentType)) return undefined
  try {
    return read(JSON.parse(content.toString()))
  } catch {
    // No JSON, or nested so deeply that it can't be written again.
    return undefined
  }
}

function read(event: unknown): StructuredEvent | undefined {
  if (typeof event !== 'object' || event === null || Array.isArray(event)) return undefined
  const { data, data_base64: base64, datacontenttype, ...attributes } = event as Record<string, unknown>
  if (typeof attributes['id'] !== 'string' || typeof attributes['type'] !== 'string') return undefined
  const type = typeof datacontenttype === 'string' && datacontenttype !== '' ? datacontenttype : JSON_TYPE
  if (typeof base64 === 'string') return { attributes, contentType: type, body: Buffer.from(base64, 'base64') }
  // As JSON, data is a JSON value; of any other type it is the text itself.
  const isJson = /[/+]json\b/i.test(type)
  const body = typeof data === 'string' && !isJson ? data : data === undefined ? '' : JSON.stringify(data)
  return { attributes, contentType: type, body: Buffer.from(body) }
}
