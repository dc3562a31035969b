import { describe, expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { applyUrl } from '../../../src/transports/nats/url-options.ts'
import { randomText } from '../random-message.ts'

describe('the URL of a NATS', () => {
  it.each([
    [undefined, ['127.0.0.1:4222'], false, {}],
    ['h', ['h:4222'], false, {}],
    ['nats://h:5/', ['h:5'], false, {}],
    ['tls://h', ['h:4222'], true, {}],
    ['nats://a:1, b:2,c', ['a:1', 'b:2', 'c:4222'], false, {}],
    [['nats://a', 'tls://b'], ['a:4222', 'b:4222'], true, {}],
    ['nats://[::1]:5', ['[::1]:5'], false, {}],
    ['nats://u:p%40@h', ['h:4222'], false, { username: 'u', password: 'p@' }],
    ['nats://secret@h', ['h:4222'], false, { token: 'secret' }],
    ['h?jetstream=false&leaseMs=5', ['h:4222'], false, { jetstream: false, leaseMs: 5 }],
    [
      'h?connectionName=007&stream.name=1&retention.maxAgeMs=60000',
      ['h:4222'],
      false,
      { connectionName: '007', stream: { name: '1' }, retention: { maxAgeMs: 60_000 } },
    ],
    ['h?reconnect.minMs=5&reconnect.maxMs=9', ['h:4222'], false, { reconnect: { minMs: 5, maxMs: 9 } }],
  ])('%j', (url, servers, tls, input) => {
    const found = applyUrl({ url })
    expect(found).toMatchObject({ servers, tls, problems: [], input })
  })

  it('gives way to what stands beside it', () => {
    const options = {
      url: 'nats://u:p@h?leaseMs=5&stream.name=a&stream.replicas=3',
      leaseMs: 9,
      stream: { name: 'b' },
    }
    const { input } = applyUrl({ ...options, password: 'q' })
    expect(input).toMatchObject({ username: 'u', password: 'q', leaseMs: 9, stream: { name: 'b', replicas: 3 } })
    expect(options.stream).toEqual({ name: 'b' })
    for (const login of ['token', 'nkeySeed', 'credentials', 'credentialsFile'])
      expect(applyUrl({ url: 'nats://u:p@h', [login]: 'x' }).input).not.toHaveProperty('username')
  })

  it.each([
    ['', 'must be a URL such as'],
    [5, 'must be a URL such as'],
    ['http://h', 'must be like "nats://host:4222"'],
    ['nats://', 'must be like'],
    ['nats://h/path', 'must be like'],
    ['nats://u:p#x@h', 'percent-encode special characters'],
    ['nats://u:%zz@h', 'has a "%" in its user or password'],
    ['h?password=x', 'has a parameter "password"'],
  ])('refuses %j', (url, what) => {
    expect(applyUrl({ url } as never).problems.join()).toContain(what)
  })

  it('carries any user and password that are percent-encoded', () => {
    const random = seededRandom('url')
    for (let round = 0; round < 500; round++) {
      const [user, password] = [randomText(random), randomText(random)]
      const { input, problems } = applyUrl({
        url: `nats://${encodeURIComponent(user)}:${encodeURIComponent(password)}@h`,
      })
      expect([input['username'], input['password'], problems]).toEqual([user, password, []])
    }
  })

  it('never throws, and shows no password', () => {
    const random = seededRandom('odd urls')
    for (let round = 0; round < 2_000; round++) {
      const url = `nats://user:hunter2${randomText(random)}@${randomText(random)}?${randomText(random)}`
      expect(applyUrl({ url }).problems.join()).not.toContain('hunter2')
    }
    for (const options of [null, 5, 'x']) expect(applyUrl(options as never).problems).toEqual([])
  })
})
