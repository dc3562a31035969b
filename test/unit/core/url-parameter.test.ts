import { expect, it } from 'vitest'
import { FROM_URL, passwordAdvice, setParameter, urlParameter } from '../../../src/core/util/url-parameter.ts'
import type { UrlOptions } from '../../../src/core/util/url-parameter.ts'

it.each([
  ['true', true],
  ['false', false],
  ['True', 'True'],
  ['0', 0],
  ['007', 7],
  ['999999999999999', 999_999_999_999_999],
  ['9999999999999999', '9999999999999999'],
  ['-1', '-1'],
  ['1.5', '1.5'],
  ['1e3', '1e3'],
  ['0x10', '0x10'],
  [' 1', ' 1'],
  ['1\n', '1\n'],
  ['', ''],
  ['NaN', 'NaN'],
])('%j is %j', (text, value) => {
  expect(urlParameter(text)).toBe(value)
})

it('what stands beside the URL wins, and what came from it is known', () => {
  const options: UrlOptions = { given: 5, missing: undefined, empty: null, off: false }
  for (const name of Object.keys(options)) setParameter(options, name, 'url')
  setParameter(options, 'new', 'url')
  expect(options).toMatchObject({ given: 5, missing: 'url', empty: 'url', off: false, new: 'url' })
  expect([...(options[FROM_URL] ?? [])]).toEqual(['missing', 'empty', 'new'])
  // A copy knows it too, and is not changed with the original.
  const copy = { ...options }
  setParameter(options, 'later', 'url')
  expect([...(copy[FROM_URL] ?? [])]).toEqual(['missing', 'empty', 'new'])
  expect(Object.keys(copy)).not.toContain('later')
})

it('sets fields of options that are objects', () => {
  const groups = new Set(['reconnect'])
  const given = { minMs: 5 }
  const options: UrlOptions = { reconnect: given, broken: 7 }
  setParameter(options, 'reconnect.minMs', 1, groups)
  setParameter(options, 'reconnect.maxMs', 2, groups)
  setParameter(options, 'other.field', 3, groups)
  setParameter(options, 'broken.field', 4, new Set(['broken']))
  expect(options).toMatchObject({ reconnect: { minMs: 5, maxMs: 2 }, broken: 7, 'other.field': 3 })
  expect(Object.keys(options)).toEqual(['reconnect', 'broken', 'other.field'])
  expect(given).toEqual({ minMs: 5 })
})

it('advises on passwords only where there may be one', () => {
  expect(passwordAdvice('nats://h')).toBe('')
  expect(passwordAdvice('nats://u:p@h')).toContain('"@" as %40')
  expect(passwordAdvice('nats://u:hunter2@h')).not.toContain('hunter2')
})
