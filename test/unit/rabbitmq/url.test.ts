import { describe, expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { applyUrl, checkUrl, describeTarget, parseUrl } from '../../../src/transports/rabbitmq/connection/url.ts'
import { randomText } from '../random-message.ts'

describe('the URL of a RabbitMQ', () => {
  it.each([
    ['amqp://h', { protocol: 'amqp', hostname: 'h', port: 5672, username: 'guest', password: 'guest', vhost: '/' }],
    ['amqps://h', { protocol: 'amqps', port: 5671 }],
    ['amqp://h:1234/', { port: 1234, vhost: '' }],
    ['amqp://h/%2f', { vhost: '%2F' }],
    ['amqp://h/a%20b', { vhost: 'a%20b' }],
    ['amqp://[::1]:5', { hostname: '::1', port: 5 }],
    ['amqp://u@h', { username: 'u', password: '' }],
    ['amqp://h?heartbeat=5&frame_max=8192&channel_max=9', { heartbeat: 5, frameMax: 8192, channelMax: 9 }],
  ])('%s', (url, expected) => {
    expect(checkUrl(url)).toBeUndefined()
    expect(parseUrl(url)).toMatchObject(expected)
  })

  it('carries any user, password and vhost that are percent-encoded', () => {
    const random = seededRandom('url')
    for (let round = 0; round < 500; round++) {
      const [user, password, vhost] = [randomText(random), randomText(random), randomText(random)]
      const url = `amqp://${[user, password].map(encodeURIComponent).join(':')}@h/${encodeURIComponent(vhost)}`
      // "." and ".." are removed from paths, encoded or not.
      if (/^\.{1,2}$/.test(vhost)) continue
      expect(checkUrl(url), url).toBeUndefined()
      const parsed = parseUrl(url)
      expect([parsed.username, parsed.password]).toEqual([user, password])
      expect(decodeURIComponent(parsed.vhost ?? '')).toBe(vhost)
      expect(describeTarget(parsed)).not.toContain(`${user}:`)
    }
  })

  it.each([
    [5, 'must be a string, got number'],
    [null, 'must be a string, got null'],
    ['', 'is not a valid URL'],
    ['h:5672', 'has the scheme "h:"'],
    ['http://h', 'has the scheme "http:"'],
    ['amqp://', 'names no host'],
    ['amqp://u:p%zz@h', 'has a "%" that starts no %XX'],
    ['amqp://h?frame_max=4096', 'RabbitMQ wants 8192 at least'],
    ['amqp://h?heartbeat=soon', 'a value that is not a number'],
    ['amqp://h?prefetch=5', 'all else is an option of rabbitmq()'],
  ])('refuses %j: %s', (url, what) => {
    expect(checkUrl(url)).toContain(what)
  })

  it('refuses anything without showing it, and never throws', () => {
    const random = seededRandom('odd urls')
    for (let round = 0; round < 2_000; round++) {
      const url = `amqp://user:hunter2${randomText(random)}@${randomText(random)}`
      const problem = checkUrl(url)
      if (problem === undefined) expect(() => parseUrl(url), url).not.toThrow()
      else expect(problem).not.toContain('hunter2')
    }
  })

  it("takes options out of the URL, except AMQP's own; those beside it win", () => {
    const options = applyUrl({
      url: 'amqp://h/v?partitions=8&exchange=orders&declare=false&heartbeat=5',
      partitions: 3,
    })
    expect(Object.fromEntries(Object.entries(options ?? {}))).toEqual({
      url: 'amqp://h/v?heartbeat=5',
      partitions: 3,
      exchange: 'orders',
      declare: false,
    })
    for (const untouched of [
      undefined,
      {},
      { url: 'no url' },
      { url: ['amqp://h?a=1'] },
      { url: 'amqp://h?heartbeat=5' },
    ])
      expect(applyUrl(untouched)).toBe(untouched)
  })
})
