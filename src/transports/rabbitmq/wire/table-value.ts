import type { FrameBuffer } from './frame-buffer.ts'

const INT_32 = 2 ** 31

/** A value with its type, as `amqplib` returns it where a plain value would be ambiguous. */
interface Tagged {
  readonly '!': string
  readonly value: unknown
}

/** Writes one value of an AMQP table, preceded by its type. The caller has reserved `tableValueBound` bytes. */
export function writeTableValue(out: FrameBuffer, value: unknown): void {
  switch (typeof value) {
    case 'string':
      out.byte(0x53)
      out.longText(value)
      return
    case 'boolean':
      out.byte(0x74)
      out.byte(value ? 1 : 0)
      return
    case 'number':
      writeNumber(out, value)
      return
    case 'object':
      break
    default:
      out.byte(0x56)
      return
  }
  if (value === null) out.byte(0x56)
  else if (value instanceof Uint8Array) {
    out.byte(0x78)
    out.int(value.byteLength)
    out.bytes(value)
  } else if (Array.isArray(value)) {
    out.byte(0x41)
    const lengthAt = out.skip(4)
    for (const each of value) writeTableValue(out, each)
    out.setLength(lengthAt)
  } else if (isTimestamp(value)) {
    out.byte(0x54)
    out.long(Number(value.value))
  } else if (isDecimal(value)) {
    out.byte(0x44)
    out.byte(value.value.places)
    out.int(value.value.digits | 0)
  } else {
    out.byte(0x46)
    const lengthAt = out.skip(4)
    for (const [name, each] of Object.entries(value)) {
      out.shortText(name, 255)
      writeTableValue(out, each)
    }
    out.setLength(lengthAt)
  }
}

function writeNumber(out: FrameBuffer, value: number): void {
  if (Number.isInteger(value) && value >= -INT_32 && value < INT_32) {
    out.byte(0x49)
    out.int(value)
  } else if (Number.isSafeInteger(value)) {
    out.byte(0x6c)
    out.long(value)
  } else {
    out.byte(0x64)
    out.double(value)
  }
}

function isTimestamp(value: object): value is Tagged {
  return (value as Partial<Tagged>)['!'] === 'timestamp' && Number.isSafeInteger((value as Tagged).value)
}

function isDecimal(value: object): value is { readonly value: { readonly places: number; readonly digits: number } } {
  if ((value as Partial<Tagged>)['!'] !== 'decimal') return false
  const { places, digits } = ((value as Tagged).value ?? {}) as Record<string, unknown>
  return Number.isInteger(places) && Number.isInteger(digits)
}

/** An upper bound for the size of a value in bytes: text takes at most three bytes per UTF-16 unit. */
export function tableValueBound(value: unknown): number {
  if (typeof value === 'string') return 5 + 3 * value.length
  if (typeof value !== 'object' || value === null) return 9
  if (value instanceof Uint8Array) return 5 + value.byteLength
  let bytes = 9
  for (const [name, each] of Object.entries(value)) bytes += 1 + 3 * name.length + tableValueBound(each)
  return bytes
}
