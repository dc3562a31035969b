import { describe, expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { applyUrl } from '../../../src/transports/redis/url-options.ts'
import { randomText } from '../random-message.ts'

describe('the URL of a Redis', () => {
  it.each([
    [undefined, {}],
    ['redis://h', { host: 'h' }],
    ['redis://h:7/3', { host: 'h', port: 7, database: 3 }],
    ['rediss://h', { host: 'h', tls: true }],
    ['redis://[::1]:7', { host: '::1', port: 7 }],
    ['redis://u:p%40@h', { host: 'h', username: 'u', password: 'p@' }],
    ['redis://:p@h', { host: 'h', password: 'p' }],
    [
      'redis://h?retention.maxMessages=5&envelope=fields',
      { host: 'h', retention: { maxMessages: 5 }, envelope: 'fields' },
    ],
    [
      'redis://h?partitions.audit.log=1&partitions.*=4&reconnect.minMs=5',
      { host: 'h', partitions: { 'audit.log': 1, '*': 4 }, reconnect: { minMs: 5 } },
    ],
    ['redis://a:1,b:2?cluster=true', { cluster: { nodes: ['a:1', 'b:2'] } }],
    ['redis://a:1?cluster=true', { cluster: { nodes: ['a:1'] } }],
    ['redis://:p@a,b:2?sentinel=main', { password: 'p', sentinel: { name: 'main', nodes: ['a', 'b:2'] } }],
  ])('%j', (url: string | undefined, input) => {
    const found = applyUrl({ url })
    expect(found.problems).toEqual([])
    expect(JSON.parse(JSON.stringify(found.input))).toEqual(input)
  })

  it('may be a socket', () => {
    expect(applyUrl({ url: 'unix:///run/my%20redis.sock?retention.maxMessages=5' })).toMatchObject({
      path: '/run/my redis.sock',
      input: { retention: { maxMessages: 5 } },
    })
    expect(applyUrl({ url: 'unix://u:p@/run/redis.sock' })).toMatchObject({
      path: '/run/redis.sock',
      input: { username: 'u', password: 'p' },
    })
  })

  it('gives way to what stands beside it', () => {
    const { input } = applyUrl({
      url: 'redis://u:p@h/3?retention.maxMessages=5',
      password: 'q',
      retention: { maxMessages: 9 },
    })
    expect(input).toMatchObject({ username: 'u', password: 'q', database: 3, retention: { maxMessages: 9 } })
  })

  it.each([
    [5, 'must be a string, got a number'],
    ['', 'is not a valid URL'],
    ['http://h', 'must start with redis:'],
    ['redis://a,b', 'has several hosts'],
    ['redis://h/x', 'has a path that is not the number of a database'],
    ['redis://u:p#x@h', 'percent-encode special characters'],
    ['redis://u:%zz@h', 'has a "%" in its user, password or path'],
    ['unix:///run/100%.sock', 'has a "%" in its user, password or path'],
    ['redis://h?password=x', 'has a parameter "password"'],
  ])('refuses %j', (url, what) => {
    expect(applyUrl({ url } as never).problems.join()).toContain(what)
  })

  it('carries any user and password that are percent-encoded', () => {
    const random = seededRandom('url')
    for (let round = 0; round < 500; round++) {
      const [username, password] = [randomText(random), randomText(random)]
      const url = `redis://${encodeURIComponent(username)}:${encodeURIComponent(password)}@${random.pick(['h', 'a,b'])}?cluster=true`
      const { input, problems } = applyUrl({ url })
      expect([input['username'], input['password'], problems]).toEqual([username, password, []])
    }
  })

  it('never throws, and shows no password', () => {
    const random = seededRandom('odd urls')
    const starts = ['redis', 'rediss', 'unix']
    for (let round = 0; round < 2_000; round++) {
      const url = `${random.pick(starts)}://user:hunter2${randomText(random)}@${randomText(random)}/${randomText(random)}`
      expect(applyUrl({ url }).problems.join(), url).not.toContain('hunter2')
    }
    for (const options of [null, 5, 'x']) expect(applyUrl(options as never).problems).toEqual([])
  })
})
