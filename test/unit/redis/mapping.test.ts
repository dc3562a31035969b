import { describe, expect, it, test } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { NO_HEADERS } from '../../../src/core/message.ts'
import type { EncodedMessage } from '../../../src/core/message.ts'
import { EnvelopeReader, EnvelopeWriter } from '../../../src/transports/redis/wire/envelope.ts'
import { createMapping, EntryReader } from '../../../src/transports/redis/wire/mapping.ts'
import type { Field } from '../../../src/transports/redis/wire/mapping.ts'
import { ReplyParser } from '../../../src/transports/redis/wire/reply-parser.ts'
import { carried, damaged, randomMessage } from '../random-message.ts'

const PLACE = { topic: 'orders', partition: 2, id: '1700000000123-4' }

/** As the client returns an entry. */
function entry(...fields: readonly Field[]): Buffer[] {
  return fields.map((field) => Buffer.from(field as string))
}

function read(...fields: readonly Field[]): EncodedMessage {
  return new EntryReader().read(entry(...fields), PLACE)
}

describe.each(['compact', 'cloudevents'] as const)('entries with the envelope as %s', (envelope) => {
  it('carry every message, there and back, whatever came before', () => {
    const random = seededRandom(envelope)
    const mapping = createMapping(envelope)
    const reader = new EntryReader()
    let last = randomMessage(random)
    for (let round = 0; round < 400; round++) {
      const other = randomMessage(random)
      // Half of them have in common with the last one what is compared instead of parsed.
      const { type, source, contentType, version, time } = random.chance(0.5) ? last : other
      last = { ...other, type, source, contentType, version, time }
      const back = reader.read(entry(...mapping.fields(last)), { ...PLACE, topic: last.topic })
      expect(carried(back), `round ${round} of ${random.seed}`).toEqual(carried(last))
    }
  })

  it('keep a header apart that is named like the field of the envelope, whatever it says', () => {
    const ce = JSON.stringify({ specversion: '1.0', id: 'other', type: 'other', source: 'other' })
    const message = { ...randomMessage(seededRandom('ce')), topic: PLACE.topic, headers: { ce } }
    expect(carried(read(...createMapping(envelope).fields(message)))).toEqual(carried(message))
  })

  it('have each name once, so that other programs read them as a map', () => {
    const random = seededRandom('names')
    for (let round = 0; round < 50; round++) {
      const message = { ...randomMessage(random), headers: { data: 'a header', ce: 'another', tenant: 'eu' } }
      const names = createMapping(envelope)
        .fields(message)
        .filter((_, index) => index % 2 === 0)
      expect(new Set(names).size).toBe(names.length)
    }
  })

  it('are read as something when they are damaged', () => {
    const random = seededRandom('damage')
    const mapping = createMapping(envelope)
    const reader = new EntryReader()
    for (let round = 0; round < 300; round++) {
      const message = randomMessage(random)
      const fields = entry(...mapping.fields(message))
      const at = random.integer(0, fields.length - 1)
      const broken = fields.with(at, damaged(random, fields[at] as Buffer))
      if (random.chance(0.2)) broken.splice(random.integer(0, broken.length - 1), 1)
      const found = reader.read(broken, PLACE)
      for (const field of ['id', 'type', 'source', 'contentType'] as const) expect(found[field]).toBeTypeOf('string')
      expect(new Date(found.time).getTime()).toBe(found.time)
      for (const value of Object.values(found.headers)) expect(value).toBeTypeOf('string')
      // It may have changed what the next one is compared with, but not what is read of it.
      const next = reader.read(fields, { ...PLACE, topic: message.topic })
      expect(carried(next)).toEqual(carried(message))
    }
  })
})

describe('golden: entries that other programs read', () => {
  const message = { ...randomMessage(seededRandom(1)), id: '1', topic: 'orders', type: 'orders', source: 'shop' }
  Object.assign(message, { time: 1_700_000_000_123, key: 'k', contentType: 'application/json', version: 2 })
  Object.assign(message, { subject: undefined, dataSchema: undefined, correlationId: '1', causationId: '0' })
  Object.assign(message, { traceparent: undefined, tracestate: undefined, expiresAt: 1_700_000_060_000 })
  Object.assign(message, { headers: { tenant: 'eu', data: 'x' }, body: Buffer.from('{}') })

  test('compact', () => {
    const envelope = (change: Partial<EncodedMessage>): string =>
      String(createMapping('compact').fields({ ...message, ...change })[1])
    expect(createMapping('compact').fields(message).map(String)).toEqual([
      'ce',
      '{"busbar":"1","source":"shop","dataversion":2,"id":"1","time":"2023-11-14T22:13:20.123Z","partitionkey":"k","causationid":"0","expirytime":"2023-11-14T22:14:20.000Z","headers":{"tenant":"eu","data":"x"}}',
      'data',
      '{}',
    ])
    const plain = { causationId: undefined, expiresAt: undefined, headers: NO_HEADERS, version: undefined }
    const id = '018bcfe5-687b-7001-9375-48acea89f5a5'
    expect(envelope({ ...plain, id, correlationId: id })).toBe(
      `{"busbar":"1","source":"shop","id":"${id}","partitionkey":"k"}`,
    )
    expect(
      envelope({ ...plain, id, correlationId: undefined, type: 't', contentType: 'text/plain', key: undefined }),
    ).toBe(`{"busbar":"1c","source":"shop","type":"t","datacontenttype":"text/plain","id":"${id}"}`)
    // Written in a later version: not derived from again.
    expect(envelope({ ...plain, headers: { busbar: '2' } })).toBe(
      '{"specversion":"1.0","id":"1","type":"orders","source":"shop","datacontenttype":"application/json","time":"2023-11-14T22:13:20.123Z","partitionkey":"k","correlationid":"1","headers":{"busbar":"2"}}',
    )
  })

  test('cloudevents', () => {
    const fields = createMapping('cloudevents').fields(message).map(String)
    expect(Object.fromEntries(fields.flatMap((name, at) => (at % 2 === 0 ? [[name, fields[at + 1]]] : [])))).toEqual({
      tenant: 'eu',
      'busbar-escaped-data': 'x',
      'ce-specversion': '1.0',
      'ce-id': '1',
      'ce-type': 'orders',
      'ce-source': 'shop',
      'ce-time': '2023-11-14T22:13:20.123Z',
      'ce-partitionkey': 'k',
      'ce-dataversion': '2',
      'ce-correlationid': '1',
      'ce-causationid': '0',
      'ce-expirytime': '2023-11-14T22:14:20.000Z',
      'content-type': 'application/json',
      data: '{}',
    })
  })
})

describe('entries of other programs', () => {
  it('get their id from their place, and their time', () => {
    expect(read('data', 'hello')).toMatchObject({
      id: 'orders/2/1700000000123-4',
      type: 'orders',
      source: 'redis',
      time: 1_700_000_000_123,
      contentType: '',
    })
  })

  it('may have ids that are no times', () => {
    for (const id of ['1700000000123000000-0', '18446744073709551615-1', '0-1'])
      expect(new EntryReader().read(entry('data', 'x'), { ...PLACE, id }).time).toBe(0)
  })

  it('without a field for the body are data as a whole', () => {
    const { contentType, body, type, headers } = read('name', 'Ada', '__proto__', 'x', 'ce-type', 'user.made')
    expect([contentType, type, { ...headers }]).toEqual(['application/json', 'user.made', {}])
    expect(Buffer.from(body ?? []).toString()).toBe('{"name":"Ada","__proto__":"x"}')
  })

  it.each([
    ['ce', '{}', 'data', 'x'],
    ['ce', '{"id":"1","type":"t"}', 'data', 'x'],
    ['ce', '{"id":1,"type":"t","source":"s"}', 'data', 'x'],
    ['ce', '{"id":', 'data', 'x'],
    ['ce', `{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`, 'data', 'x'],
    ['ce', '', 'data', 'x'],
    ['data', 'x', 'ce', '{}'],
    ['data', 'x', 'odd'],
    ['data', 'x', '', ''],
  ])('that are no envelope of ours are read as fields: %#', (...fields) => {
    const { id, body } = read(...fields)
    expect([id, Buffer.from(body ?? []).toString()]).toEqual(['orders/2/1700000000123-4', 'x'])
  })

  it('may have no fields at all', () => {
    expect(Buffer.from(read().body ?? []).toString()).toBe('{}')
  })

  it.each([
    ['"time":"yesterday"', { time: 0 }],
    ['"time":5', { time: 0 }],
    [
      '"headers":{"a":1,"b":"x","__proto__":"y"}',
      {
        headers: Object.fromEntries([
          ['b', 'x'],
          ['__proto__', 'y'],
        ]),
      },
    ],
    ['"headers":["x"]', { headers: { 0: 'x' } }],
    ['"headers":null', { headers: {} }],
    ['"partitionkey":5,"subject":null,"dataversion":"2"', { key: undefined, subject: undefined, version: undefined }],
    ['"datacontenttype":{}', { contentType: '' }],
  ])('may have odd attributes: %s', (attribute, expected) => {
    const { headers, ...found } = read('ce', `{"id":"1","type":"t","source":"s",${attribute}}`, 'data', 'x')
    expect({ ...found, headers: { ...headers } }).toMatchObject({ id: '1', type: 't', ...expected })
  })
})

test('a reader that has learned what messages have in common reads what one that has not', () => {
  const random = seededRandom('learned')
  const body = new Uint8Array(0)
  const learned = new EnvelopeReader()
  const writer = new EnvelopeWriter()
  let alike = 0
  for (let round = 0; round < 2_000; round++) {
    const message = { ...randomMessage(random), type: 'orders', source: 'shop', version: undefined, contentType: '' }
    const text = writer.write(message)
    learned.read(text, 'orders', body)
    const broken = damaged(random, Buffer.from(text)).toString()
    try {
      JSON.parse(broken)
    } catch {
      continue
    }
    alike++
    expect(learned.read(broken, 'orders', body), broken).toEqual(new EnvelopeReader().read(broken, 'orders', body))
  }
  expect(alike).toBeGreaterThan(80)
})

test('a time that is longer or shorter than usual is parsed as a whole', () => {
  const reader = new EnvelopeReader()
  const text = (time: string, more = ''): string => `{"busbar":"1","source":"s","id":"1","time":"${time}"${more}}`
  for (const time of [
    '2026-01-02T03:04:05.678Z',
    '2026-01-02T03:04:05Z',
    '2026-01-02T03:04:05.678901Z',
    '+010000-01-01T00:00:00.000Z',
  ])
    for (const more of ['', ',"partitionkey":"k"'])
      expect(reader.read(text(time, more), 'orders', Buffer.alloc(0))?.time, time).toBe(Date.parse(time))
  expect(reader.read(text('2026-01-02T03:04:05.678Z').replace('Z"', 'Zx'), 'orders', Buffer.alloc(0))).toBeUndefined()
})

test('a compact envelope of a version that is not known keeps its mark, by which it is refused', () => {
  const text = '{"busbar":"2","source":"s","type":"t","id":"1"}'
  const message = new EnvelopeReader().read(text, 'orders', Buffer.alloc(0))
  expect({ ...message?.headers }).toEqual({ busbar: '2' })
  expect(message?.correlationId).toBeUndefined()
})

it.each(['data', 'ce'])('a body of "%s" belongs to its message alone', (text) => {
  const envelope = JSON.stringify({ id: '1', source: 's', type: 't' })
  const bodies = [[], ['ce', envelope], ['busbar-tenant', 'eu']].map((fields) => {
    let reply: unknown
    const all = [...fields, 'data', text]
    const parser = new ReplyParser((value) => {
      reply = value
    })
    parser.push(Buffer.from(`*${all.length}\r\n${all.map((one) => `$${one.length}\r\n${one}\r\n`).join('')}`))
    return new EntryReader().read(reply as Buffer[], PLACE).body as Buffer
  })
  bodies[0]?.fill(0x78)
  bodies[1]?.fill(0x79)
  expect(bodies.map(String)).toEqual(['x'.repeat(text.length), 'y'.repeat(text.length), text])
})
