import { describe, expect, it } from 'vitest'
import { bytesCodec, CodecRegistry, jsonCodec, textCodec } from '../../../src/core/codec.ts'
import type { Codec } from '../../../src/core/codec.ts'
import { CodecError } from '../../../src/core/errors.ts'

describe('json', () => {
  it.each([
    [null],
    [0],
    ['grüße 😀'],
    [[1, 2]],
    [{ a: { b: null } }],
    [{ text: 'replacement \ufffd is a legal character' }],
  ])('goes there and back: %j', (data) => {
    expect(jsonCodec.decode(jsonCodec.encode(data))).toEqual(data)
  })

  it.each([[undefined], [() => {}], [Symbol('x')], [10n]])('refuses what has no JSON form', (data) => {
    expect(() => jsonCodec.encode(data)).toThrow(CodecError)
  })

  it.each<[unknown, string]>([
    [{ order: { lines: [{ total: 1 }, { total: 2n }] } }, 'order.lines.1.total is a BigInt: publish it as a string'],
    [{ at: { toJSON: () => ({ ns: 1n }) } }, 'at.ns is a BigInt: publish it as a string'],
    [10n, 'it is a BigInt: publish it as a string'],
    [undefined, 'it is undefined: is the data argument missing? Publish null if there is no data'],
  ])('says where the problem is, and what to publish', (data, text) => {
    expect(() => jsonCodec.encode(data)).toThrow(
      expect.objectContaining({ code: 'BUSBAR_CODEC', message: `The data can't be written as JSON: ${text}` }),
    )
  })

  it('refuses a cycle and a toJSON that throws, with the cause', () => {
    const cycle: Record<string, unknown> = {}
    cycle['self'] = cycle
    expect(() => jsonCodec.encode(cycle)).toThrow(CodecError)
    const cause = new Error('no')
    const hostile = {
      toJSON() {
        throw cause
      },
    }
    expect(() => jsonCodec.encode(hostile)).toThrow(expect.objectContaining({ code: 'BUSBAR_CODEC', cause }))
  })

  it.each([
    ['no JSON', Buffer.from('{')],
    ['nothing', Buffer.alloc(0)],
    ['bytes that are no UTF-8', Buffer.from([0x22, 0xff, 0xfe, 0x22])],
  ])('does not decode %s', (_name, body) => {
    expect(() => jsonCodec.decode(body)).toThrow(CodecError)
  })

  it('decodes a view into a larger buffer', () => {
    const whole = Buffer.from('xx{"a":1}yy')
    expect(jsonCodec.decode(new Uint8Array(whole.buffer, whole.byteOffset + 2, 7))).toEqual({ a: 1 })
  })

  it('makes of __proto__ a plain property, never a prototype', () => {
    const data = jsonCodec.decode(Buffer.from('{"__proto__":{"admin":true}}')) as Record<string, unknown>
    expect(Object.hasOwn(data, '__proto__')).toBe(true)
    expect(data['admin']).toBeUndefined()
  })
})

describe('text and bytes', () => {
  it('carries text', () => {
    expect(textCodec.decode(textCodec.encode('ä\u0000b'))).toBe('ä\u0000b')
    expect(() => textCodec.encode(1)).toThrow(CodecError)
    expect(() => textCodec.decode(Buffer.from([0xc3]))).toThrow(CodecError)
  })

  it('carries the very bytes', () => {
    const bytes = Uint8Array.of(0, 255, 1)
    expect(bytesCodec.encode(bytes)).toBe(bytes)
    expect(bytesCodec.decode(bytes)).toBe(bytes)
    expect(() => bytesCodec.encode('text')).toThrow(CodecError)
  })
})

describe('the registry', () => {
  const registry = new CodecRegistry()

  it.each([
    ['application/json', jsonCodec],
    ['application/json; charset=utf-8', jsonCodec],
    ['Application/JSON', jsonCodec],
    ['application/cloudevents+json', jsonCodec],
    ['', jsonCodec],
    ['text/plain', textCodec],
    ['text/csv', textCodec],
    ['application/octet-stream', bytesCodec],
  ])('reads %j', (contentType, codec) => {
    expect(registry.forContentType(contentType)).toBe(codec)
  })

  it('says what to do about a content type that it does not know', () => {
    expect(() => registry.forContentType('application/avro')).toThrow(/application\/avro.*codecs/)
  })

  it('asks the codecs that were given first', () => {
    const own: Codec = {
      contentType: 'application/json',
      encode: (data) => jsonCodec.encode(data),
      decode: () => 'own',
    }
    expect(new CodecRegistry([own]).forContentType('application/json')).toBe(own)
  })

  it('chooses bytes for bytes and JSON for the rest', () => {
    expect(registry.forData(Buffer.alloc(1))).toBe(bytesCodec)
    expect(registry.forData('text')).toBe(jsonCodec)
  })
})
