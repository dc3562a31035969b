import { expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import {
  contentTypeToWrite,
  fromCloudEventHeaders,
  toCloudEventHeaders,
  toCompactHeaders,
} from '../../../src/core/cloud-events.ts'
import { NO_HEADERS } from '../../../src/core/message.ts'
import { carried, randomMessage, randomText } from '../random-message.ts'

const BODY = new Uint8Array(0)
const FOREIGN = { topic: 'orders', body: BODY, fallbackId: 'orders/7', fallbackSource: 'test' }

it.each(['ce-', 'ce_', 'cloudEvents:'])('headers with the prefix %s carry every message, there and back', (prefix) => {
  const random = seededRandom(`there and back ${prefix}`)
  for (let round = 0; round < 700; round++) {
    const message = randomMessage(random)
    const headers = toCloudEventHeaders(message, prefix)
    const { topic, body, contentType } = message
    const back = fromCloudEventHeaders(Object.entries(headers), prefix, { ...FOREIGN, topic, body, contentType })
    expect(carried(back), `round ${round} of ${random.seed}`).toEqual(carried(message))
  }
})

it.each(['ce-', 'ce_', 'cloudEvents:'])(
  'compact headers with the prefix %s carry every message, there and back',
  (prefix) => {
    const random = seededRandom(`compact ${prefix}`)
    for (let round = 0; round < 1_500; round++) {
      const message = randomMessage(random)
      // A broker has any of these fields, or none, and shortens what does not fit.
      const fields = {
        id: random.pick([undefined, message.id, 'cut off']),
        source: random.pick([undefined, message.source, 'other']),
        key: random.pick([undefined, message.key]),
      }
      const headers = toCompactHeaders(message, prefix, fields)
      const { topic, body } = message
      const contentType = contentTypeToWrite(message, 'compact')
      const native = { ...FOREIGN, ...fields, topic, body, time: 7 }
      const back = fromCloudEventHeaders(Object.entries(headers), prefix, {
        ...native,
        contentType: contentType === '' ? undefined : contentType,
      })
      expect(carried(back), `round ${round} of ${random.seed}`).toEqual(carried(message))
    }
  },
)

const PLAIN = {
  id: '018f3b2c-1d2e-7000-8000-000000000001',
  topic: 'orders.placed',
  type: 'orders.placed',
  source: 'shop',
  time: 0x018f_3b2c_1d2e,
  key: undefined,
  contentType: 'application/json',
  subject: undefined,
  dataSchema: undefined,
  version: undefined,
  correlationId: '018f3b2c-1d2e-7000-8000-000000000001',
  causationId: undefined,
  traceparent: undefined,
  tracestate: undefined,
  expiresAt: undefined,
  headers: NO_HEADERS,
  body: BODY,
}

it('says that there is no body, if the broker does', () => {
  expect(fromCloudEventHeaders([], 'ce-', { ...FOREIGN, body: null }).body).toBeNull()
})

it('writes what no reader can derive, and nothing else', () => {
  expect(toCompactHeaders(PLAIN, 'ce-', { id: PLAIN.id, source: 'shop' })).toEqual({ busbar: '1' })
  expect(contentTypeToWrite(PLAIN, 'compact')).toBe('')
  expect(contentTypeToWrite(PLAIN, 'cloudevents')).toBe('application/json')
  expect(toCompactHeaders(PLAIN, 'ce-')).toEqual({ busbar: '1', 'ce-id': PLAIN.id, 'ce-source': 'shop' })
  const answer = {
    ...PLAIN,
    topic: 'orders.placed.g.dlq',
    key: 'o-1',
    time: PLAIN.time + 1,
    correlationId: 'c-1',
    causationId: 'c-2',
    contentType: 'text/plain',
    version: 3,
    headers: { tenant: 'eu' },
  }
  expect(toCompactHeaders(answer, 'ce-', { id: PLAIN.id, key: 'o-1' })).toEqual({
    busbar: '1',
    tenant: 'eu',
    'ce-type': 'orders.placed',
    'ce-source': 'shop',
    'ce-time': '2024-05-02T21:18:17.903Z',
    'ce-correlationid': 'c-1',
    'ce-causationid': 'c-2',
    'ce-dataversion': '3',
  })
  expect(contentTypeToWrite(answer, 'compact')).toBe('text/plain')
})

it('is a wire format: bytes as header lines, in both forms', () => {
  const lines = (headers: Record<string, string>): string =>
    Object.entries(headers)
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join('')
  expect(lines(toCompactHeaders(PLAIN, 'ce-'))).toBe(
    'busbar: 1\r\nce-id: 018f3b2c-1d2e-7000-8000-000000000001\r\nce-source: shop\r\n',
  )
  expect(lines(toCompactHeaders({ ...PLAIN, correlationId: undefined, contentType: '' }, 'ce_', PLAIN))).toBe(
    'busbar: 1ct\r\n',
  )
  expect(lines(toCloudEventHeaders(PLAIN, 'ce-'))).toBe(
    'ce-specversion: 1.0\r\nce-id: 018f3b2c-1d2e-7000-8000-000000000001\r\nce-type: orders.placed\r\nce-source: shop\r\n' +
      'ce-time: 2024-05-02T21:18:17.902Z\r\nce-correlationid: 018f3b2c-1d2e-7000-8000-000000000001\r\n',
  )
})

it('derives nothing for a message of another program, whatever its id is', () => {
  const headers = [['ce-id', PLAIN.id]] as const
  const foreign = fromCloudEventHeaders(headers, 'ce-', { ...FOREIGN, id: 'native', source: 'native', time: 5 })
  expect(foreign).toMatchObject({ id: PLAIN.id, source: 'test', time: 5, correlationId: undefined, contentType: '' })
  const bare = fromCloudEventHeaders([], 'ce-', { ...FOREIGN, id: 'native', source: 'native' })
  expect(bare).toMatchObject({ id: 'orders/7', source: 'test', correlationId: undefined })
})

it.each(['', '0', '2', '1x', '1tc', ' 1', 'yes'])('does not take the header busbar: %j for a mark', (value) => {
  const read = fromCloudEventHeaders([['busbar', value]], 'ce-', { ...FOREIGN, id: 'native' })
  expect(read).toMatchObject({ id: 'orders/7', correlationId: undefined, contentType: '', headers: { busbar: value } })
  // Nor does it write a second one: a message with that header is written in full.
  const again = fromCloudEventHeaders(Object.entries(toCompactHeaders(read, 'ce-')), 'ce-', FOREIGN)
  expect(carried(again)).toEqual(carried(read))
})

it('writes no mark that another program left among the headers', () => {
  const message = { ...PLAIN, correlationId: undefined, headers: { busbar: '1', tenant: 'eu' } }
  for (const headers of [toCloudEventHeaders(message, 'ce-'), toCompactHeaders(message, 'ce-')]) {
    const back = fromCloudEventHeaders(Object.entries(headers), 'ce-', { ...FOREIGN, topic: PLAIN.topic })
    expect(back).toMatchObject({ correlationId: undefined, headers: { tenant: 'eu' } })
  }
})

it('of two prefixes, the first that has an attribute wins, in any order of the headers', () => {
  const headers: [string, string][] = [
    ['cloudEvents_id', 'b'],
    ['cloudEvents:id', 'a'],
    ['cloudEvents_type', 'c'],
    ['cloudEvents:foo', 'd'],
    ['cloudEvents_foo', 'e'],
  ]
  for (const order of [headers, headers.toReversed()])
    expect(fromCloudEventHeaders(order, ['cloudEvents:', 'cloudEvents_'], FOREIGN)).toMatchObject({
      id: 'a',
      type: 'c',
      headers: { 'ce-foo': 'd' },
    })
})

it('a message without our headers gets what the transport knows', () => {
  expect(fromCloudEventHeaders([], 'ce-', { ...FOREIGN, key: 'k', contentType: 'text/plain', time: 5 })).toMatchObject({
    id: 'orders/7',
    topic: 'orders',
    type: 'orders',
    source: 'test',
    time: 5,
    key: 'k',
    contentType: 'text/plain',
    version: undefined,
    headers: NO_HEADERS,
  })
})

it('the content type of the broker wins over the header, whose name has any case', () => {
  const headers = [['Content-Type', 'text/html']] as const
  expect(fromCloudEventHeaders(headers, 'ce-', FOREIGN)).toMatchObject({ contentType: 'text/html', headers: {} })
  expect(fromCloudEventHeaders(headers, 'ce-', { ...FOREIGN, contentType: 'text/css' }).contentType).toBe('text/css')
})

it.each([
  ['time', 'yesterday', { time: 0 }],
  ['time', '275760-09-13T00:00:00.001Z', { time: 0 }],
  ['expirytime', '', { expiresAt: undefined }],
  ['dataversion', '-1', { version: undefined }],
  ['dataversion', '1e3', { version: undefined }],
  ['dataversion', '9999999999', { version: undefined }],
])('an attribute %s that is %j counts as missing', (name, value, expected) => {
  expect(fromCloudEventHeaders([[`ce-${name}`, value]], 'ce-', FOREIGN)).toMatchObject(expected)
})

it('a header named as a part of every object is a header', () => {
  const { headers } = fromCloudEventHeaders(
    [
      ['__proto__', 'a'],
      ['constructor', 'b'],
      ['ce-__proto__', 'c'],
    ],
    'ce-',
    FOREIGN,
  )
  expect(Object.entries(headers)).toEqual([
    ['__proto__', 'a'],
    ['constructor', 'b'],
  ])
  expect(Object.keys(toCloudEventHeaders({ ...randomMessage(seededRandom(1)), headers }, 'ce-'))).toContain('__proto__')
})

it('no headers make reading fail', () => {
  const random = seededRandom('hostile headers')
  const names = [
    'ce-id',
    'ce-time',
    'ce-type',
    'ce-',
    'ce-specversion',
    'traceparent',
    'CONTENT-TYPE',
    '',
    '__proto__',
    'busbar',
  ]
  for (let round = 0; round < 700; round++) {
    const headers = Array.from({ length: random.integer(0, 6) }, () => [
      random.chance(0.8) ? random.pick(names) : randomText(random),
      random.chance(0.2)
        ? ''
        : random.pick([randomText(random), '1', '1ct', PLAIN.id, '\0', '\ud800', 'x'.repeat(5_000)]),
    ]) as [string, string][]
    const read = fromCloudEventHeaders(headers, random.pick(['ce-', ['ce-', 'ce']]), FOREIGN)
    for (const field of ['id', 'type', 'source', 'contentType'] as const) expect(read[field]).toBeTypeOf('string')
    expect(new Date(read.time).getTime()).toBe(read.time)
  }
})
