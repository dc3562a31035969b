import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createBus } from 'busbar'
import { redis } from 'busbar/redis'
import { transportFromUrl } from 'busbar/url'
import { afterAll, describe, expect, it } from 'vitest'
import { parseLocalUrl } from '../../src/transports/local-url.ts'
import { createFromScheme } from '../../src/transports/scheme.ts'

const folder = mkdtempSync(join(tmpdir(), 'busbar url '))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function messageOf(url: string): Promise<string> {
  const error: unknown = await transportFromUrl(url).catch((reason: unknown) => reason)
  expect(error).toMatchObject({ code: 'BUSBAR_CONFIGURATION' })
  return (error as Error).message
}

describe('transportFromUrl', () => {
  it('makes a memory transport', async () => {
    expect(await transportFromUrl('memory:')).toMatchObject({ system: 'memory' })
    expect(await transportFromUrl('MEMORY:?retainMessages=5')).toMatchObject({ system: 'memory' })
  })

  it('makes an SQLite transport that keeps its messages in that file', async () => {
    const path = join(folder, 'a broker.db')
    const transport = await transportFromUrl(`sqlite:${encodeURI(path)}`)
    expect(transport.system).toBe('sqlite')
    const bus = createBus({ service: 'url-test', transport })
    await bus.start()
    await bus.publish('url.test', 1)
    await bus.close()
    expect(existsSync(path)).toBe(true)
  })

  it.each([
    ['amqp://user:hunter2@h/v?partitions=9&exchange=orders', 'rabbitmq'],
    ['nats://user:hunter2@a:4222,b?stream.name=orders', 'nats'],
    ['tls://h', 'nats'],
    ['redis://:hunter2@h/3?retention.maxMessages=1000', 'redis'],
    ['rediss://h?retention.maxAgeMs=1000', 'redis'],
    ['redis://h', 'redis'],
    ['unix:///run/redis.sock?retention.maxMessages=1000', 'redis'],
  ])('makes a transport of %s, with its parameters as options, and connects to nothing', async (url, system) => {
    expect(await transportFromUrl(url)).toMatchObject({ system })
  })

  it.each([
    ['amqp://u:hunter2@h?partition=9', /did you mean "partitions"/],
    ['amqp://u:hunter2@h?partitions=many', /partitions: must be a whole number/],
    ['nats://u:hunter2@h?leasMs=9', /did you mean "leaseMs"/],
    ['redis://u:hunter2@h?retention.maxMessages=many', /retention\.maxMessages: must be a whole number/],
  ])('says what is wrong with %s', async (url, message) => {
    const text = await messageOf(url)
    expect(text).toMatch(message)
    expect(text).not.toContain('hunter2')
  })

  it.each(['p@ss:w#rd', 'a/b', 'a?b', '1#2', '#', 'a,b/'])(
    'says that the special characters of the password %s have to be encoded',
    async (password) => {
      for (const scheme of ['amqp', 'nats', 'redis', 'rediss', 'amqps', 'tls']) {
        const text = await messageOf(`${scheme}://user:hunter2${password}@host`)
        expect(text).toContain(
          'percent-encode special characters in its user and password: "@" as %40, ":" as %3A, "/" as %2F, "?" as %3F, "#" as %23',
        )
        expect(text).not.toContain('hunter2')
      }
    },
  )

  it.each(['amqp', 'nats', 'redis'])('does not take half a password for a port: %s', async (scheme) => {
    expect(await messageOf(`${scheme}://user:6379#secret@host`)).toContain('"#" as %23')
  })

  it('does not mention a password when there is none', async () => {
    for (const url of ['amqp://a b', 'nats://a b', 'redis://a b'])
      expect(await messageOf(url)).not.toMatch(/password(?!@host)/)
  })

  it('says which transports there are when the scheme is none', async () => {
    expect(await messageOf('carrier-pigeon://loft')).toMatch(
      /"carrier-pigeon:", which is none of: memory:.*, rediss:, unix:, kafka:, kafkas:$/,
    )
    expect(await messageOf('constructor:x')).toMatch(/"constructor:", which is none of/)
    expect(await messageOf('./busbar.db')).toMatch(/must start with a scheme; there are: memory:, sqlite:/)
    expect(await messageOf('')).toMatch(/must start with a scheme/)
    expect(await messageOf(undefined as unknown as string)).toMatch(/must be a string, got undefined/)
  })

  it('says which scheme is meant when one is misspelt', async () => {
    expect(await messageOf('reddis://u:hunter2@h')).toMatch(/"reddis:", which is none of: .*; did you mean "redis:"\?$/)
    expect(await messageOf('sqllite:./busbar.db')).toMatch(/did you mean "sqlite:"\?$/)
    expect(await messageOf('rabbitmq://h')).toMatch(/did you mean "amqp:"\?$/)
    expect(await messageOf('file:./busbar.db')).toMatch(/did you mean "sqlite:"\?$/)
    expect(await messageOf('sqs://queue')).toMatch(/kafkas:$/)
  })

  it('says that a transport is not in this version', async () => {
    expect(await messageOf('postgres://db')).toMatch(/names PostgreSQL, which is not supported in this version/)
  })

  it('never shows a password', async () => {
    for (const url of [
      'postgres://user:hunter2@db',
      'pigeon://user:hunter2@loft',
      'memory:user:hunter2@x',
      '//user:hunter2@x',
    ])
      expect(await messageOf(url)).not.toContain('hunter2')
  })

  it('refuses what the transport refuses', async () => {
    expect(await messageOf('memory:?retainMessage=5')).toMatch(/did you mean "retainMessages"/)
    expect(await messageOf('memory:?retainMessages=few')).toMatch(/retainMessages: must be a whole number/)
    expect(await messageOf('memory:?__proto__=1')).toMatch(/__proto__: is not a known option/)
    expect(await messageOf('memory:x.db')).toMatch(/has a path/)
    expect(await messageOf('sqlite:')).toMatch(/has no path/)
    expect(await messageOf('sqlite:?x=1')).toMatch(/has no path/)
  })

  it('says what to install when the client library is missing', async () => {
    const peer: string = 'no-such-package'
    const schemes = { pigeon: { name: 'Carrier Pigeon', peer, create: () => import(peer) } }
    await expect(createFromScheme('pigeon://user:hunter2@loft', schemes)).rejects.toThrow(
      'names Carrier Pigeon, which needs a package that is not installed: npm install no-such-package',
    )
  })

  it.each([
    ['redis://h?retention.maxMessages=abc', 'retention.maxMessages: must be a whole number >= 1, got "abc"'],
    ['nats://h?partitions=many', 'partitions: must be a whole number >= 1 and <= 256, got "many"'],
    ['amqp://h?partitions=many', 'partitions: must be a whole number >= 1 and <= 32, got "many"'],
    ['memory:?retainMessages=few', 'retainMessages: must be a whole number >= 0, got "few"'],
    ['sqlite:./a.db?leaseMs=5s', 'leaseMs: must be a whole number >= 100 and <= 86400000, got "5s"'],
    ['redis://h?checkServer=yes', 'checkServer: must be true or false, got "yes"'],
  ])('shows the text of a wrong parameter: %s', async (url, text) => {
    expect(await messageOf(url)).toContain(text)
  })

  it('does not show what was given beside the URL', () => {
    expect(() =>
      redis({ url: 'redis://h?retention.maxMessages=9', retention: { maxMessages: 'hunter2' as never } }),
    ).toThrow('retention.maxMessages: must be a whole number >= 1, got a string')
  })

  it('passes on every other failure as it is', async () => {
    const failure = new Error('the loft is on fire')
    const schemes = {
      pigeon: { name: 'Carrier Pigeon', peer: 'no-such-package', create: () => Promise.reject(failure) },
    }
    await expect(createFromScheme('pigeon://loft', schemes)).rejects.toBe(failure)
  })
})

describe('parseLocalUrl', () => {
  it.each([
    ['sqlite:./a.db', './a.db'],
    ['sqlite:a.db', 'a.db'],
    ['sqlite:../up/a.db', '../up/a.db'],
    ['sqlite:/var/lib/a.db', '/var/lib/a.db'],
    ['sqlite:///var/lib/a.db', '/var/lib/a.db'],
    ['sqlite:./with%20space%23%3F.db', './with space#?.db'],
    ['sqlite:C:/data/a.db', 'C:/data/a.db'],
    ['sqlite:///C:/data/a.db', 'C:/data/a.db'],
    ['sqlite:', ''],
  ])('%s is %s', (url, path) => {
    expect(parseLocalUrl(url).path).toBe(path)
  })

  it('reads parameters as options', () => {
    const { path, options } = parseLocalUrl('sqlite:./a.db?n=42&on=true&off=false&text=a%20b&version=1.5&empty=')
    expect(path).toBe('./a.db')
    expect(Object.fromEntries(Object.entries(options))).toEqual({
      n: 42,
      on: true,
      off: false,
      text: 'a b',
      version: '1.5',
      empty: '',
    })
  })

  it.each([
    ['sqlite://host/a.db', /names a host, but sqlite URLs have no host/],
    ['sqlite:./a#b.db', /"#" in its path/],
    ['sqlite:./100%.db', /starts no %XX/],
    ['sqlite:./a.db?x=1&x=2', /parameter "x" twice/],
  ])('refuses %s', (url, message) => {
    expect(() => parseLocalUrl(url)).toThrow(message)
  })
})
