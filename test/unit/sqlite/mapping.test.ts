import { expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { NO_HEADERS } from '../../../src/core/message.ts'
import type { OutgoingMessage } from '../../../src/core/message.ts'
import { StoredWriter } from '../../../src/transports/sqlite/worker/columns.ts'
import { StoredReader, toColumns, toPosition, toSeq } from '../../../src/transports/sqlite/mapping.ts'
import { IN, OUT } from '../../../src/transports/sqlite/protocol.ts'
import type { StoredColumns } from '../../../src/transports/sqlite/protocol.ts'
import { carried, randomMessage } from '../random-message.ts'

/** What the database thread does with the messages of one topic: it stores the rows, and sends them out again. */
function stored(messages: readonly OutgoingMessage[], topic: string): StoredColumns {
  const { ids, keys, metas, topics, numbers, bodies } = toColumns(messages).columns
  const writer = new StoredWriter(topic)
  let bodyAt = 0
  for (const [row, id] of ids.entries()) {
    const number = (column: keyof typeof OUT): number => numbers[row * OUT.stride + OUT[column]] as number
    const body = bodies.subarray(bodyAt, (bodyAt += number('bodyBytes')))
    if (topics[number('topic')] !== topic) continue
    const meta = metas[number('meta')] as string
    writer.add(row, id, keys[row] as string | null, number('time'), meta, body, 100 + row, 3, 2, 1_000 + row)
  }
  return writer.finish()
}

/** Messages of which many have what they share with the one before. */
function batch(seed: string): OutgoingMessage[] {
  const random = seededRandom(seed)
  const messages: OutgoingMessage[] = []
  for (let left = random.integer(1, 20); left > 0; left--) {
    const last = messages.at(-1)
    const other = random.chance(0.1) ? { ...randomMessage(random), body: null } : randomMessage(random)
    const { id, key, time, body } = other
    const correlationId = random.pick([id, last?.id, last?.correlationId])
    messages.push(last === undefined || random.chance(0.3) ? other : { ...last, id, key, time, body, correlationId })
  }
  return messages
}

it('columns carry every message, there and back', () => {
  for (let round = 0; round < 120; round++) {
    const messages = batch(`columns ${round}`)
    for (const topic of new Set(messages.map((message) => message.topic))) {
      const reader = new StoredReader(stored(messages, topic))
      const expected = [...messages.entries()].filter(([, message]) => message.topic === topic)
      for (const [row, [index, message]] of expected.entries()) {
        expect(carried(reader.message(row)), `message ${index} of columns ${round}`).toEqual(carried(message))
        const numbers = (Object.keys(IN) as (keyof typeof IN)[]).map((column) => reader.number(row, column))
        expect(numbers.slice(0, 5)).toEqual([index, message.time, 3, 2, 1_000 + index])
        expect(reader.number(row, 'size')).toBe(100 + index)
      }
    }
  }
})

it('what equal messages share is sent once', () => {
  const message = { ...randomMessage(seededRandom(1)), topic: 'orders', headers: NO_HEADERS, group: undefined }
  const own = (id: string): OutgoingMessage => ({ ...message, id, correlationId: id })
  expect(toColumns([own('1'), own('2'), own('3')]).columns.metas).toHaveLength(1)
  expect(toColumns([own('1'), { ...own('2'), correlationId: '1' }, own('3')]).columns.metas).toHaveLength(3)
  expect(toColumns([own('1'), { ...own('2'), subject: 's' }]).columns.metas).toHaveLength(2)
  expect(stored([own('1'), own('2')], 'orders').metas).toHaveLength(1)
})

it('times and targets that a message lacks, and those that it has', () => {
  const message = { ...randomMessage(seededRandom(2)), topic: 'orders' }
  const { columns } = toColumns([
    { ...message, deliverAt: 5, group: 'billing' },
    { ...message, deliverAt: undefined, group: undefined },
    { ...message, topic: 'other', group: 'audit' },
    { ...message, group: 'billing' },
  ])
  const column = (name: keyof typeof OUT): number[] =>
    [0, 1, 2, 3].map((row) => columns.numbers[row * OUT.stride + OUT[name]] as number)
  expect([columns.topics, columns.targets]).toEqual([
    ['orders', 'other'],
    ['billing', 'audit'],
  ])
  expect(column('topic')).toEqual([0, 0, 1, 0])
  expect(column('target')).toEqual([0, -1, 1, 0])
  expect(column('deliverAt')).toEqual([5, Number.NaN, Number.NaN, Number.NaN])
})

it('bodies are copied: those of the caller stay, and may change', () => {
  const body = Buffer.from('before')
  const { columns, transfer } = toColumns([{ ...randomMessage(seededRandom(3)), body }])
  body.write('after!')
  expect(Buffer.from(columns.bodies).toString()).toBe('before')
  expect(transfer).not.toContain(body.buffer)
})

it('golden: what is stored of a message besides its columns', () => {
  const plain = { ...randomMessage(seededRandom(4)), topic: 'orders', type: 'orders', source: 'shop', id: '1' }
  const none = { subject: undefined, dataSchema: undefined, version: undefined, causationId: undefined }
  const usual = { ...plain, ...none, contentType: 'application/json', correlationId: '1', expiresAt: undefined }
  const one: OutgoingMessage = { ...usual, traceparent: undefined, tracestate: undefined, headers: NO_HEADERS }
  expect(toColumns([one]).columns.metas).toEqual([
    '{"source":"shop","datacontenttype":"application/json","correlationid":true}',
  ])
  const full = { ...one, type: 't', subject: 's', dataSchema: 'd', version: 2, correlationId: 'c', causationId: 'b' }
  const traced = { ...full, traceparent: 'p', tracestate: 'q', expiresAt: 5, headers: { tenant: 'eu' } }
  expect(toColumns([traced]).columns.metas).toEqual([
    '{"source":"shop","type":"t","datacontenttype":"application/json","subject":"s","dataschema":"d","dataversion":2,"correlationid":"c","causationid":"b","traceparent":"p","tracestate":"q","expirytime":5,"headers":{"tenant":"eu"}}',
  ])
})

it('positions', () => {
  expect(toSeq(toPosition(42))).toBe(42)
  for (const position of [{}, { seq: -1 }, { seq: 1.5 }, { seq: 'x' }, { seq: 2 ** 60 }, { id: '1-0' }])
    expect(() => toSeq(position as never)).toThrow('looks like { seq: 42 }')
})
