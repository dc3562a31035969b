import { describe, expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { NO_HEADERS } from '../../../src/core/message.ts'
import type { OutgoingMessage } from '../../../src/core/message.ts'
import type { KafkaRecord, RecordContent } from '../../../src/kafka/index.ts'
import { Mapping, placeOf } from '../../../src/transports/kafka/wire/mapping.ts'
import { randomMessage } from '../random-message.ts'

const STORED_AT = 1_700_000_000_000

/** As a consumer gets it. */
function stored({ key, value, headers = [] }: RecordContent, offset = 7): KafkaRecord {
  const bytes = (text: RecordContent['key']): Buffer | null =>
    text === null || text === undefined ? null : Buffer.from(text as string)
  return {
    offset,
    timestamp: STORED_AT,
    key: bytes(key),
    keyText: bytes(key)?.toString() ?? null,
    value: bytes(value),
    eachHeader(visit: (key: string, value: string | null) => void) {
      for (const header of headers) visit(header.key, bytes(header.value)?.toString() ?? null)
    },
  } as unknown as KafkaRecord
}

function headersOf(record: RecordContent): Record<string, string> {
  return Object.fromEntries((record.headers ?? []).map(({ key, value }) => [key, String(value)]))
}

const PLAIN: OutgoingMessage = {
  id: '0190c0de-0000-7000-8000-000000000000',
  topic: 'orders',
  type: 'orders',
  source: 'shop',
  time: 0x0190c0de0000,
  key: 'ord-1',
  contentType: 'application/json',
  subject: undefined,
  dataSchema: undefined,
  version: undefined,
  correlationId: '0190c0de-0000-7000-8000-000000000000',
  causationId: undefined,
  traceparent: undefined,
  tracestate: undefined,
  expiresAt: undefined,
  headers: NO_HEADERS,
  body: Buffer.from('{}'),
  deliverAt: undefined,
  group: undefined,
}

describe.each(['compact', 'cloudevents'] as const)('a message in the form %s', (form) => {
  const mapping = new Mapping(form)

  it('comes back as it was', () => {
    const random = seededRandom(`mapping ${form}`)
    for (let round = 0; round < 2_000; round++) {
      const message = randomMessage(random)
      const { group, deliverAt, copyOf: _, ...encoded } = message
      const decoded = mapping.decode(stored(mapping.encode(message)), message.topic, 3)
      const { body, headers, ...rest } = decoded.message
      expect({ ...rest, headers: { ...headers } }).toEqual({
        ...encoded,
        body: undefined,
        headers: { ...message.headers },
      })
      expect(body === null ? null : Buffer.from(body)).toEqual(message.body === null ? null : Buffer.from(message.body))
      expect([decoded.group, decoded.deliverAt]).toEqual([group, deliverAt])
    }
  })

  it('has no value without a body, and an empty one with an empty body', () => {
    expect(mapping.encode({ ...PLAIN, body: null }).value).toBeNull()
    const { value } = mapping.encode({ ...PLAIN, body: new Uint8Array(0) })
    expect(value).toEqual(new Uint8Array(0))
    expect(mapping.decode(stored({ key: null, value: null }), 'orders', 0).message.body).toBeNull()
    expect(mapping.decode(stored({ key: null, value: '' }), 'orders', 0).message.body).toEqual(Buffer.alloc(0))
  })
})

describe('headers', () => {
  it('are those of the CloudEvents binding for Kafka', () => {
    const message = { ...PLAIN, headers: { tenant: 'a', 'ce-region': 'eu' } }
    expect(headersOf(new Mapping('cloudevents').encode(message))).toEqual({
      ce_specversion: '1.0',
      ce_id: PLAIN.id,
      ce_type: 'orders',
      ce_source: 'shop',
      ce_time: new Date(PLAIN.time).toISOString(),
      ce_partitionkey: 'ord-1',
      ce_correlationid: PLAIN.id,
      ce_region: 'eu',
      'content-type': 'application/json',
      tenant: 'a',
    })
  })

  it('leave out in the compact form what readers derive', () => {
    expect(headersOf(new Mapping().encode(PLAIN))).toEqual({ busbar: '1', ce_id: PLAIN.id, ce_source: 'shop' })
  })
})

describe('a record of another program', () => {
  const mapping = new Mapping()

  it('has an id from its place, its own key, and the time at which it was stored', () => {
    const { message } = mapping.decode(
      stored({ key: 'k', value: 'hello', headers: [{ key: 'a', value: '1' }] }, 42),
      'orders',
      3,
    )
    expect(message).toMatchObject({ id: 'orders/3/42', source: 'kafka', type: 'orders', key: 'k', time: STORED_AT })
    expect(message).toMatchObject({ correlationId: undefined, contentType: '', headers: { a: '1' } })
    expect(mapping.decode(stored({ value: 'x' }, 42), 'orders', 3).message.key).toBeUndefined()
  })

  it('may be an event of CloudEvents that has no key of Kafka', () => {
    const headers = [
      { key: 'ce_id', value: 'e1' },
      { key: 'ce_source', value: '/shop' },
      { key: 'ce_partitionkey', value: 'ord-9' },
      { key: 'ce_datacontenttype', value: 'text/plain' },
      { key: 'Content-Type', value: 'application/json' },
    ]
    const { message } = mapping.decode(stored({ value: '{}', headers }), 'orders', 0)
    expect(message).toMatchObject({ id: 'e1', source: '/shop', key: 'ord-9', contentType: 'application/json' })
  })

  it('may repeat a header, and leave its value out', () => {
    const headers = [
      { key: 'a', value: '1' },
      { key: 'a', value: '2' },
      { key: 'b', value: null },
      { key: '__proto__', value: 'x' },
    ]
    const { message } = mapping.decode(stored({ value: '{}', headers }), 'orders', 0)
    expect(Object.entries(message.headers)).toEqual([
      ['a', '1, 2'],
      ['b', ''],
      ['__proto__', 'x'],
    ])
  })
})

it.each([
  [
    { partition: 3, offset: 42 },
    { partition: 3, offset: 42 },
  ],
  [
    { partition: '3', offset: '42' },
    { partition: 3, offset: 42 },
  ],
  [{ seq: 42 }, undefined],
  [{ partition: -1, offset: 42 }, undefined],
  [{ partition: 0, offset: 1.5 }, undefined],
])('the position %j is the place %j', (position, place) => {
  expect(placeOf(position as never)).toEqual(place)
})
