import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { RejectError } from '../../../src/core/errors.ts'
import { summarizeFailure } from '../../../src/core/dead-letters/failure-summary.ts'
import { RetryRequest } from '../../../src/core/consume/retry.ts'

describe('summarizeFailure', () => {
  it('names the cause of a request to try again, not the request', () => {
    const cause = Object.assign(new RangeError('payments answered 503'), { code: 'E_BUSY' })
    const summary = summarizeFailure(new RetryRequest({ cause }))
    expect(summary).toMatchObject({ name: 'RangeError', message: 'payments answered 503', code: 'E_BUSY', causes: [] })
    expect(summary.stack).toBe(cause.stack)
  })

  it('names the request itself when it gives no cause', () => {
    expect(summarizeFailure(new RetryRequest({}))).toMatchObject({
      name: 'RetryRequest',
      message: 'The handler asked for a retry',
      causes: [],
    })
  })

  it('unwraps requests within requests, and causes that are not errors', () => {
    const summary = summarizeFailure(new RetryRequest({ cause: new RetryRequest({ cause: 'rate limited' }) }))
    expect(summary).toEqual({
      name: 'string',
      message: 'rate limited',
      code: undefined,
      stack: undefined,
      causes: [],
    })
  })

  it('keeps a rejection as it is, with its cause', () => {
    const summary = summarizeFailure(new RejectError('bad order', { cause: new Error('customer 42 is unknown') }))
    expect(summary).toMatchObject({
      name: 'RejectError',
      message: 'bad order',
      code: 'BUSBAR_REJECT',
      causes: [{ name: 'Error', message: 'customer 42 is unknown', code: undefined }],
    })
  })

  it('follows the chain of causes to its end', () => {
    const refused = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED' })
    const failed = new TypeError('fetch failed', { cause: refused })
    const { causes } = summarizeFailure(new Error('charging failed', { cause: failed }))
    expect(causes).toEqual([
      { name: 'TypeError', message: 'fetch failed', code: undefined },
      { name: 'Error', message: 'connect ECONNREFUSED 127.0.0.1:1', code: 'ECONNREFUSED' },
    ])
  })

  it('knows the error of a real fetch from a port without a listener', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    server.close()
    await once(server, 'close')
    const error = await fetch(`http://127.0.0.1:${port}/`).catch((reason: unknown) => reason)
    const { name, message, causes } = summarizeFailure(error)
    expect([name, message]).toEqual(['TypeError', 'fetch failed'])
    expect(causes).toContainEqual(expect.objectContaining({ code: 'ECONNREFUSED' }))
  })

  it('takes the first errors of an AggregateError, and a number as a code', () => {
    const errors = [1, 2, 3, 4, 5].map((code) => Object.assign(new Error(`host ${code}`), { code }))
    const { causes } = summarizeFailure(new AggregateError(errors, 'all hosts failed'))
    expect(causes.map(({ message, code }) => [message, code])).toEqual([
      ['host 1', '1'],
      ['host 2', '2'],
      ['host 3', '3'],
    ])
  })

  it('ends in a cycle, and at eight causes', () => {
    const [a, b] = [new Error('a'), new Error('b')]
    a.cause = b
    b.cause = a
    expect(summarizeFailure(a).causes.map(({ message }) => message)).toEqual(['b'])
    let chain = new Error('0')
    for (let depth = 1; depth < 100; depth++) chain = new Error(String(depth), { cause: chain })
    expect(summarizeFailure(chain).causes).toHaveLength(8)
  })

  it('ends when each cause makes another one', () => {
    const endless = (): object => ({
      message: 'endless',
      get cause() {
        return endless()
      },
    })
    expect(summarizeFailure(endless()).causes).toHaveLength(8)
  })

  it.each([
    [
      'getters that throw',
      {
        get message() {
          throw new Error('no')
        },
        get name() {
          throw new Error('no')
        },
      },
    ],
    [
      'an error whose every field throws',
      new Proxy(new Error('x'), {
        get: () => {
          throw new Error('no')
        },
      }),
    ],
    [
      'a proxy that refuses everything',
      new Proxy(
        {},
        {
          get: () => {
            throw new Error('no')
          },
          has: () => {
            throw new Error('no')
          },
          getPrototypeOf: () => {
            throw new Error('no')
          },
          ownKeys: () => {
            throw new Error('no')
          },
        },
      ),
    ],
    [
      'a revoked proxy',
      (() => {
        const { proxy, revoke } = Proxy.revocable({}, {})
        revoke()
        return proxy
      })(),
    ],
    [
      'errors that are a hostile array',
      {
        message: 'm',
        errors: new Proxy([], {
          get: () => {
            throw new Error('no')
          },
        }),
      },
    ],
    ['a bare object', Object.create(null)],
    ['a symbol', Symbol('odd')],
    ['nothing', undefined],
    ['null', null],
  ])('says something of %s', (_name, thrown) => {
    const { name, message } = summarizeFailure(thrown)
    expect(name).not.toBe('')
    expect(typeof message).toBe('string')
  })

  it('knows errors of another realm, and plain objects with a message', () => {
    const foreign: unknown = runInNewContext('Object.assign(new TypeError("elsewhere"), { code: "E_FAR" })')
    expect(summarizeFailure(foreign)).toMatchObject({ name: 'TypeError', message: 'elsewhere', code: 'E_FAR' })
    expect(summarizeFailure({ message: 'plain', code: 7 })).toMatchObject({
      name: 'Error',
      message: 'plain',
      code: '7',
    })
  })

  it('takes bounded space for unbounded input', () => {
    const error = Object.assign(new Error('x'.repeat(1_000_000)), { code: 'c'.repeat(1_000_000) })
    error.name = 'n'.repeat(1_000_000)
    error.cause = Object.fromEntries(Array.from({ length: 5_000 }, (_, at) => [`k${at}`, at]))
    const summary = summarizeFailure(error)
    expect(JSON.stringify(summary).length).toBeLessThan(20_000)
    expect(summary.causes[0]?.message).toBe('an object with 5000 fields')
  })
})
