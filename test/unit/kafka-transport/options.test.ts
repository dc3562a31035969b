import { describe, expect, it } from 'vitest'
import { ConfigurationError } from '../../../src/core/errors.ts'
import { kafka } from '../../../src/transports/kafka/index.ts'
import { resolveKafkaOptions } from '../../../src/transports/kafka/resolve-options.ts'
import { applyUrl } from '../../../src/transports/kafka/url-options.ts'

describe('the URL of a Kafka', () => {
  it.each([
    [undefined, ['127.0.0.1:9092'], false, {}],
    ['kafka://h', ['h:9092'], false, {}],
    ['kafka://a:1, b:2,c/', ['a:1', 'b:2', 'c:9092'], false, {}],
    ['kafkas://[::1]:5', ['[::1]:5'], true, {}],
    ['kafka://u:p%40@a,b', ['a:9092', 'b:9092'], false, { username: 'u', password: 'p@' }],
    ['kafka://h?group=007&acks=all&partitions=3', ['h:9092'], false, { group: '007', acks: 'all', partitions: 3 }],
    [
      'kafka://h?fetch.maxWaitMs=5&reconnect.minMs=9',
      ['h:9092'],
      false,
      { fetch: { maxWaitMs: 5 }, reconnect: { minMs: 9 } },
    ],
    ['kafka://h?assignors=range,sticky', ['h:9092'], false, { assignors: ['range', 'sticky'] }],
    ['kafka://h?topicConfigs.retention.ms=60000', ['h:9092'], false, { topicConfigs: { 'retention.ms': '60000' } }],
  ])('%j', (url, brokers, tls, input) => {
    expect(applyUrl({ url })).toMatchObject({ brokers, tls, problems: [], input })
  })

  it('gives way to what stands beside it', () => {
    const { input } = applyUrl({ url: 'kafka://u:p@h?group=a', group: 'b', password: 'q' })
    expect(input).toMatchObject({ username: 'u', password: 'q', group: 'b' })
  })

  it.each([
    ['', 'must be like "kafka://host:9092"'],
    ['http://h', 'must be like "kafka://host:9092"'],
    ['kafka://', 'must be like'],
    ['kafka://h/path', 'must be like'],
    ['kafka://u:p#x@h', 'percent-encode special characters'],
    ['kafka://u:%zz@h', 'has a "%" in its user or password'],
    ['kafka://h?password=x', 'has a parameter "password"'],
  ])('refuses %j', (url, what) => {
    expect(applyUrl({ url }).problems.join()).toContain(what)
  })
})

describe('options', () => {
  it('have safe defaults', () => {
    const { connection, producer, consumer, ...rest } = resolveKafkaOptions(undefined)
    expect(connection).toMatchObject({ brokers: ['127.0.0.1:9092'], tls: undefined, sasl: undefined })
    expect(producer).toMatchObject({ acks: 'all', lingerMs: 0 })
    expect(consumer).toMatchObject({ sessionTimeoutMs: 45_000, rebalanceTimeoutMs: 60_000, revokeTimeoutMs: 20_000 })
    expect(rest).toMatchObject({
      maxMessageBytes: 1_000_000,
      partitions: [{ pattern: '>', count: 6 }],
      createTopics: true,
      replicationFactor: undefined,
      commitIntervalMs: 50,
    })
  })

  it('are refused together, each with its name here', () => {
    const options = {
      url: 'kafka://h',
      groupId: 'g',
      acks: 'none',
      partitions: { 'a..b': 0 },
      heartbeatMs: 2_000,
      sessionTimeoutMs: 3_000,
      username: 'u',
      whatever: 1,
    }
    let error: unknown
    try {
      kafka(options as never)
    } catch (caught) {
      error = caught
    }
    expect(ConfigurationError.is(error)).toBe(true)
    const { message } = error as Error
    for (const part of ['groupId', 'acks', 'partitions.a..b', 'username: needs a password', 'whatever'])
      expect(message).toContain(part)
  })

  it('are refused by what the client knows of them', () => {
    expect(() => kafka({ heartbeatMs: 2_000, sessionTimeoutMs: 3_000 })).toThrow('heartbeatMs: is 2000')
    expect(() => kafka({ rebalanceTimeoutMs: 1_000, revokeTimeoutMs: 900 })).toThrow('revokeTimeoutMs')
    expect(() => kafka({ brokers: ['http://h'] })).toThrow('brokers')
  })

  it('refuse an empty list of brokers, and let created topics take what may be published', () => {
    expect(() => kafka({ brokers: [] })).toThrow('brokers: is empty')
    expect(resolveKafkaOptions({}).topicConfigs).toEqual({})
    expect(resolveKafkaOptions({ maxMessageBytes: 4_194_304 }).topicConfigs).toEqual({ 'max.message.bytes': '4259840' })
    const configs = { 'max.message.bytes': '9000000' }
    expect(resolveKafkaOptions({ maxMessageBytes: 4_194_304, topicConfigs: configs }).topicConfigs).toEqual(configs)
  })

  it('never show a password', () => {
    expect(() => kafka({ url: 'kafka://u:s3cret@h?whatever=1', sasl: {} as never })).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining('s3cret') as never }) as Error,
    )
  })

  it('leave the connection to a client that is given', () => {
    const client = { producer: () => {}, consumer: () => {}, admin: () => {}, close: () => {} }
    expect(resolveKafkaOptions({ client: client as never }).connection).toBeUndefined()
    expect(() => kafka({ client: client as never, tls: true, url: 'kafka://h' })).toThrow('you gave a client')
  })
})
