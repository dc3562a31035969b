import { describe, expect, it } from 'vitest'
import { EntryReader } from '../../../src/transports/redis/wire/mapping.ts'

const PLACE = { topic: 't', partition: 3, id: '1700000000000-5' }
const ENVELOPE = {
  specversion: '1.0',
  id: 'A',
  type: 'T',
  source: '/s',
  partitionkey: 'K',
  datacontenttype: 'text/plain',
}

function read(...fields: readonly string[]) {
  const message = new EntryReader().read(
    fields.map((text) => Buffer.from(text)),
    PLACE,
  )
  return { ...message, headers: { ...message.headers }, body: Buffer.from(message.body ?? []).toString() }
}

describe('entries of other programs', () => {
  const ce = JSON.stringify(ENVELOPE)
  const expected = { id: 'A', type: 'T', source: '/s', key: 'K', contentType: 'text/plain', body: 'hello', headers: {} }

  it.each([
    ['as Busbar writes it', ['ce', ce, 'data', 'hello']],
    ['in the other order', ['data', 'hello', 'ce', ce]],
    ['with white space around it', ['ce', ` ${ce}\n`, 'data', 'hello']],
  ])('have their envelope in one field, %s', (_how, fields) => {
    expect(read(...fields)).toMatchObject(expected)
  })

  it('may have more fields beside the envelope: they are headers, which the envelope overrides', () => {
    const envelope = JSON.stringify({ ...ENVELOPE, headers: { a: 'envelope' } })
    expect(read('x', '1', 'ce', envelope, 'data', 'hello', 'a', 'field', 'traceparent', '00-1')).toMatchObject({
      ...expected,
      headers: { x: '1', a: 'envelope' },
      traceparent: '00-1',
    })
    const { datacontenttype: _, ...untyped } = ENVELOPE
    expect(read('content-type', 'text/csv', 'ce', JSON.stringify(untyped), 'data', 'hello')).toMatchObject({
      ...expected,
      contentType: 'text/csv',
    })
  })

  it('with something else in a field of that name are read field by field', () => {
    for (const other of ['not json', 'null', '[]', '{"id":"x"}'])
      expect(read('ce', other, 'data', 'hello')).toMatchObject({ id: 't/3/1700000000000-5', headers: { ce: other } })
  })

  it('may have each attribute in a field of its own, the content type too', () => {
    const fields = ['ce-id', 'A', 'ce-type', 'T', 'ce-source', '/s', 'ce-partitionkey', 'K']
    expect(read(...fields, 'ce-datacontenttype', 'text/plain', 'data', 'hello')).toMatchObject(expected)
    expect(read('data', 'hello', ...fields, 'content-type', 'text/plain')).toMatchObject(expected)
    expect(read('ce-datacontenttype', 'text/csv', 'content-type', 'text/plain', 'data', '').contentType).toBe(
      'text/plain',
    )
  })

  it('without data are an object of their fields', () => {
    expect(read('a', '1', 'b', 'x')).toMatchObject({ contentType: 'application/json', body: '{"a":"1","b":"x"}' })
  })
})
