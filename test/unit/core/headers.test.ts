import { describe, expect, it } from 'vitest'
import { checkHeaders } from '../../../src/core/headers.ts'
import { NO_HEADERS } from '../../../src/core/message.ts'

describe('headers of a publish', () => {
  it('are copied, onto an object without prototype', () => {
    const given = { tenant: 'eu', 'X-Trace': 'grüße' }
    const checked = checkHeaders(given)
    given.tenant = 'us'
    expect({ ...checked }).toEqual({ tenant: 'eu', 'X-Trace': 'grüße' })
    expect(Object.getPrototypeOf(checked)).toBeNull()
    expect(checkHeaders({})).toBe(NO_HEADERS)
  })

  it.each([
    [{ a: 'x\ny' }, 'line break'],
    [{ a: 'x\r\nInjected: 1' }, 'line break'],
    [{ a: 'x\u0000' }, 'NUL'],
    [{ 'a b': 'x' }, 'not a header name'],
    [{ 'a\n': 'x' }, 'not a header name'],
    [{ '': 'x' }, 'not a header name'],
    [JSON.parse('{"__proto__":"x"}') as Record<string, string>, 'reserved'],
    [{ ce_id: 'x' }, 'reserved'],
    [{ 'ce-id': 'x' }, 'reserved'],
    [{ 'cloudEvents:id': 'x' }, 'not a header name'],
    [{ traceparent: 'x' }, 'reserved'],
    [{ 'Content-Type': 'x' }, 'reserved'],
    [{ a: 5 as unknown as string }, 'must be a string'],
    [{ a: null as unknown as string }, 'must be a string'],
    [{ a: '\ud800' }, 'surrogate'],
    [{ a: 'x'.repeat(65_536) }, 'limit is 16384'],
  ])('%# refuses them: %s', (headers, what) => {
    expect(() => checkHeaders(headers)).toThrow(what)
  })

  it('names everything that is wrong at once', () => {
    expect(() => checkHeaders({ 'a b': 'x', c: '\n' })).toThrow(/"a b".*"c"/)
  })

  it('leaves out notes about another message, so that headers can be passed on', () => {
    expect({ ...checkHeaders({ 'busbar-redrives': '2', tenant: 'eu' }) }).toEqual({ tenant: 'eu' })
  })
})
