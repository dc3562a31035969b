import { expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { fromCloudEventHeaders, toCloudEventHeaders } from '../../../src/core/cloud-events.ts'
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
  const names = ['ce-id', 'ce-time', 'ce-type', 'ce-', 'ce-specversion', 'traceparent', 'CONTENT-TYPE', '', '__proto__']
  for (let round = 0; round < 700; round++) {
    const headers = Array.from({ length: random.integer(0, 6) }, () => [
      random.chance(0.8) ? random.pick(names) : randomText(random),
      random.chance(0.2) ? '' : random.pick([randomText(random), '\0', '\ud800', 'x'.repeat(5_000)]),
    ]) as [string, string][]
    const read = fromCloudEventHeaders(headers, 'ce-', FOREIGN)
    for (const field of ['id', 'type', 'source', 'contentType'] as const) expect(read[field]).toBeTypeOf('string')
    expect(new Date(read.time).getTime()).toBe(read.time)
  }
})
