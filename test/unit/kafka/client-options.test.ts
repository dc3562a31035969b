import { afterEach, describe, expect, it, vi } from 'vitest'
import { createClient, InvalidOptionsError, KafkaError } from '../../../src/kafka/index.ts'
import type { KafkaClient } from '../../../src/kafka/index.ts'

const BROKERS = ['localhost:9092']
const clients: KafkaClient[] = []

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()))
})

function make(options: object = {}): KafkaClient {
  const client = createClient({ brokers: BROKERS, ...options })
  clients.push(client)
  return client
}

function errorOf(run: () => unknown): InvalidOptionsError {
  try {
    run()
  } catch (error) {
    if (error instanceof InvalidOptionsError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

/** What is given, and what the error says about it: the option, what it is, what to give instead. */
type Table = readonly (readonly [given: object, said: string])[]

const SECRET = 'pa55word'

const CLIENT: Table = [
  [{ brokers: undefined }, "brokers is undefined: give an array of addresses, ['localhost:9092'] for example"],
  [{ brokers: [] }, "brokers is an empty array: give an array of addresses, ['localhost:9092'] for example"],
  [{ brokers: 'a:9092,b:9092' }, "brokers is a string: give an array; text.split(',') makes one"],
  [{ brokers: ['kafka://a:9092'] }, 'brokers[0] is "kafka://a:9092": write host:port'],
  [{ brokers: ['a:9092', 9092] }, 'brokers[1] is 9092: write host:port'],
  [{ brokers: ['a:99999'] }, 'brokers[0] is "a:99999": write host:port'],
  [{ clientId: '' }, "clientId is empty: give the program's name, or leave it out"],
  [{ rack: 7 }, 'rack is 7: give the name of a rack or zone, or leave it out'],
  [{ ssl: true }, 'ssl is not an option: write tls'],
  [{ clientid: 'a' }, 'clientid is not an option: did you mean clientId?'],
  [{ requestTimout: 5 }, 'requestTimout is not an option: did you mean requestTimeoutMs?'],
  [{ logLevel: 4 }, 'logLevel is not an option: the client writes no log; hooks report what happens'],
  [{ nonsense: 4 }, 'nonsense is not an option: there are brokers, clientId, tls,'],
  [{ tls: 'yes' }, 'tls is a string: give true, options of tls.connect, or a function that returns them'],
  [
    { requestTimeoutMs: '5000' },
    'requestTimeoutMs is "5000": give a whole number of milliseconds from 1 to 2147483647, or leave it out for 30000',
  ],
  [{ connectTimeoutMs: 0 }, 'connectTimeoutMs is 0: give a whole number of milliseconds from 1 to'],
  [{ maxResponseBytes: 1.5 }, 'maxResponseBytes is 1.5: give a whole number of bytes from 1024 to'],
  [{ metadataMaxAgeMs: Number.NaN }, 'metadataMaxAgeMs is NaN: give a whole number of milliseconds'],
  [
    { brokers: [`sasl_ssl://alice:${SECRET}@kafka:9093`, `kafka:9092?password=${SECRET}`] },
    'brokers[0] is "…@kafka:9093": write host:port; brokers[1] is "kafka:9092?…": write host:port',
  ],
  [{ tls: SECRET }, 'tls is a string: give true'],
  [{ backoff: 100 }, 'backoff is a number: give an object'],
  [{ backoff: { minMs: 500, maxMs: 100 } }, 'backoff.minMs is 500, more than maxMs, 100: give less'],
  [{ backoff: { max: 100 } }, 'backoff.max is not an option: did you mean maxMs?'],
  [{ autoCreateTopics: 'no' }, 'autoCreateTopics is "no": give true or false, or leave it out for false'],
  [{ hooks: { onBatches: () => {} } }, 'hooks.onBatches is not an option: did you mean onBatch?'],
  [{ hooks: { onLoss: 'log' } }, 'hooks.onLoss is a string: give a function of the event'],
  [{ resolve: 'dns' }, 'resolve is a string: give a function'],
]

const SASL: Table = [
  [{}, 'sasl.mechanism is missing: give one of plain, scram-sha-256, scram-sha-512, oauthbearer'],
  [
    { mechanism: 'PLAIN', credentials: { username: 'a', password: SECRET } },
    `sasl.mechanism is "PLAIN": write 'plain'`,
  ],
  [
    { mechanism: 'gssapi', credentials: { username: 'a', password: SECRET } },
    `sasl.mechanism is a string: give 'plain', 'scram-sha-256', 'scram-sha-512' or 'oauthbearer'`,
  ],
  [
    { mechanism: 'plain', username: 'a', password: SECRET },
    'sasl.password is not an option: write credentials: { username, password }',
  ],
  [{ mechanism: SECRET }, "sasl.mechanism is a string: give 'plain', 'scram-sha-256'"],
  [
    { mechanism: 'plain', credentials: { username: 'a', password: SECRET }, isDelegationToken: true },
    "sasl.isDelegationToken has no use with mechanism 'plain': delegation tokens need scram-sha-256 or scram-sha-512",
  ],
  [{ mechanism: 'plain' }, 'sasl.credentials is undefined: give { username, password }, or a function that returns it'],
  [
    { mechanism: 'scram-sha-256', credentials: { username: SECRET } },
    'sasl.credentials.password is undefined: give a string',
  ],
  [
    { mechanism: 'oauthbearer', credentials: { username: 'a', password: SECRET }, token: { token: 't' } },
    "sasl.credentials has no use with mechanism 'oauthbearer': give token",
  ],
  [
    { mechanism: 'oauthbearer', token: SECRET },
    'sasl.token is a string: give { token }, or a function that returns it',
  ],
]

const PRODUCER: Table = [
  [{ acks: -1 }, "acks is -1: give 'all', 0 or 1"],
  [{ acks: 'ALL' }, `acks is "ALL": write 'all'`],
  [{ lingerMs: -1 }, 'lingerMs is -1: give a whole number of milliseconds from 0 to 2147483647, or leave it out for 0'],
  [{ linger: 5 }, 'linger is not an option: did you mean lingerMs?'],
  [{ batchBytes: 5 }, 'batchBytes is 5: give a whole number of bytes from 1024 to'],
  [
    { batchBytes: 200_000, maxBufferedBytes: 100_000 },
    'batchBytes is 200000, more than maxBufferedBytes, 100000: give less',
  ],
  [{ ackTimeoutMs: 30_000 }, 'ackTimeoutMs is 30000: give a whole number of milliseconds from 1 to 29999'],
  [{ compression: 'lzma' }, `compression is "lzma": give 'none', 'gzip', 'snappy', 'lz4' or 'zstd'`],
  [{ compression: 'GZIP' }, `compression is "GZIP": write 'gzip'`],
  [{ partitioner: 'murmur2' }, 'partitioner is a string: give a function of { topic, key, value, partitions }'],
  [{ transactionalId: '' }, 'transactionalId is empty: give a name, or true, or leave it out'],
  [{ transactionTimeoutMs: 5_000 }, 'transactionTimeoutMs has no use without transactionalId'],
  [{ transactionalId: 'a', acks: 1 }, "acks is 1: transactions need acks 'all'"],
  [{ idempotent: true }, "idempotent is not an option: leave it out; with acks 'all' the producer is idempotent"],
  [{ onBatch: () => {} }, 'onBatch is not an option: it is one of the hooks of createClient'],
]

const CONSUMER: Table = [
  [{ topics: undefined }, "topics is undefined: give an array of names and patterns, ['orders'] for example"],
  [{ topics: 'orders' }, "topics is a string: give an array of names and patterns, ['orders'] for example"],
  [{ topics: [] }, 'topics is an empty array: give an array'],
  [{ topics: ['a', ''] }, 'topics[1] is empty: give the name of a topic, or a RegExp'],
  [{ group: '' }, 'group is empty: give the name of a group, or leave it out'],
  [{ groupId: 'a' }, 'groupId is not an option: write group'],
  [
    { fromBeginning: true },
    "fromBeginning is not an option: write onReset: 'earliest', which is the default, or 'latest'",
  ],
  [{ onReset: 'beginning' }, `onReset is "beginning": give 'earliest', 'latest' or 'fail'`],
  [{ onReset: { timestamp: 1 } }, 'onReset.timestamp is not an option: did you mean timestampMs?'],
  [{ onReset: { timestampMs: -1 } }, 'onReset.timestampMs is -1: give a whole number of milliseconds of 0 or more'],
  [{ isolation: 'committed' }, `isolation is "committed": give 'read_committed' or 'read_uncommitted'`],
  [{ protocol: 'next' }, `protocol is "next": give 'classic' or 'consumer'`],
  [{ assignors: ['random'] }, `assignors[0] is "random": give 'range', 'roundrobin', 'sticky' or 'cooperative-sticky'`],
  [{ assignors: [] }, 'assignors is an empty array: give an array with one or more of range,'],
  [
    { assignors: ['range'], protocol: 'consumer' },
    "assignors is for the protocol 'classic': with 'consumer' the broker assigns; give serverAssignor",
  ],
  [
    { heartbeatIntervalMs: 20_000 },
    'heartbeatIntervalMs is 20000: give a whole number of milliseconds from 1 to 15000',
  ],
  [
    { rebalanceTimeoutMs: 5_000 },
    'rebalanceTimeoutMs is 5000: give more than two heartbeats, 6002 or more, or a shorter heartbeatIntervalMs',
  ],
  [
    { rebalanceTimeoutMs: 5_000, heartbeatIntervalMs: 2_500, revokeTimeoutMs: 100 },
    'rebalanceTimeoutMs is 5000: give more than two heartbeats, 5002 or more',
  ],
  [{ onReset: {} }, 'onReset.timestampMs is missing: give milliseconds since 1970'],
  [{ onReset: { timestampMs: undefined } }, 'onReset.timestampMs is missing'],
  [{ group: undefined, instanceId: 'a' }, 'instanceId has no use without group: give group, or leave it out'],
  [{ group: undefined, protocol: 'consumer' }, 'protocol has no use without group'],
  [{ group: undefined, assignors: ['range'] }, 'assignors has no use without group'],
  [
    { group: undefined, protocol: 'consumer', serverAssignor: 'range' },
    'protocol has no use without group: give group, or leave it out; serverAssignor has no use without group',
  ],
  [
    { serverAssignor: 'range' },
    "serverAssignor is for the protocol 'consumer': with 'classic' a member assigns; give assignors",
  ],
  [{ revokeTimeoutMs: 55_000 }, 'revokeTimeoutMs is 55000: give a whole number of milliseconds from 0 to 53999'],
  [{ maxBatchRecords: 0 }, 'maxBatchRecords is 0: give a whole number from 1 to'],
  [{ autoCommit: 'false' }, 'autoCommit is "false": give true or false, or leave it out for true'],
  [{ concurrency: 5 }, 'concurrency is not an option: it is an option of run'],
]

const SHARE: Table = [
  [{ group: undefined }, 'group is missing: give the name of the share group'],
  [{ topics: [] }, 'topics is an empty array'],
  [{ maxUndecided: 0 }, 'maxUndecided is 0: give a whole number from 1 to'],
  [{ onReset: 'earliest' }, 'onReset is not an option: the group has it: set share.auto.offset.reset with'],
]

const RUN: Table = [
  [{ handler: undefined }, 'handler is undefined: give a function of a record'],
  [
    { eachMessage: () => {} },
    'eachMessage is not an option: write handler, a function of (record, { topic, partition })',
  ],
  [{ concurrency: 0 }, 'concurrency is 0: give a whole number from 1 to'],
  [{ orderBy: 'offset' }, `orderBy is "offset": give 'key', 'partition' or 'none'`],
]

describe('an option that can not be used is refused, with what to give instead', () => {
  it.each(CLIENT)('createClient: %o', (given, said) => {
    const { message } = errorOf(() => make(given))
    expect(message).toContain(`createClient can't use its options: ${said}`)
    expect(message).not.toContain(SECRET)
  })

  it.each(SASL)('createClient, sasl: %o', (sasl, said) => {
    const { message } = errorOf(() => make({ sasl }))
    expect(message).toContain(said)
    expect(message).not.toContain(SECRET)
  })

  it.each(PRODUCER)('producer: %o', (given, said) => {
    expect(errorOf(() => make().producer(given)).message).toContain(`producer can't use its options: ${said}`)
  })

  it.each(CONSUMER)('consumer: %o', (given, said) => {
    const options = { topics: ['orders'], group: 'g', ...given }
    expect(errorOf(() => make().consumer(options)).message).toContain(`consumer can't use its options: ${said}`)
  })

  it.each(SHARE)('shareConsumer: %o', (given, said) => {
    const options = { topics: ['orders'], group: 'g', ...given }
    expect(errorOf(() => make().shareConsumer(options)).message).toContain(
      `shareConsumer can't use its options: ${said}`,
    )
  })

  it.each(RUN)('run: %o', async (given, said) => {
    const options = { handler: () => {}, ...given }
    const consumer = make().consumer({ topics: ['orders'] })
    await expect(consumer.run(options)).rejects.toThrow(`run can't use its options: ${said}`)
  })

  it('run of a share consumer', async () => {
    const consumer = make().shareConsumer({ topics: ['orders'], group: 'g' })
    const running = consumer.run({ handler: undefined as never, concurrency: -1 })
    await expect(running).rejects.toThrow(/concurrency is -1: .*; handler is undefined: give a function/)
  })

  it('admin', () => {
    expect(errorOf(() => make().admin({ timeoutMs: 0 })).message).toContain('timeoutMs is 0: give a whole number')
  })

  it.each([undefined, null, 'localhost:9092', ['localhost:9092']])('options that are no object: %o', (options) => {
    expect(errorOf(() => createClient(options as never)).problems).toContainEqual({
      option: 'options',
      problem: expect.stringMatching(/: give an object$/),
    })
    expect(errorOf(() => make().consumer(options as never)).message).toContain('give an object')
  })

  it('all of them in one error', () => {
    const error = errorOf(() => make({ brokers: ['a b'], sasl: { mechanism: 'x' }, hooks: { on: 1 }, maxIdleMs: -1 }))
    expect(error).toBeInstanceOf(KafkaError)
    expect(error).toMatchObject({
      name: 'InvalidOptionsError',
      code: 'INVALID_OPTIONS',
      action: 'fatal',
      outcome: 'not-sent',
    })
    expect(error.problems.map(({ option }) => option).toSorted()).toEqual([
      'brokers[0]',
      'hooks.on',
      'maxIdleMs',
      'sasl.credentials',
      'sasl.mechanism',
    ])
  })

  it('but not one that is undefined: it has its default', () => {
    make({ clientId: undefined, tls: undefined, hooks: undefined, nonsense: undefined }).producer({ acks: undefined })
    make().consumer({ topics: ['orders'], group: undefined, onReset: undefined })
  })
})

describe('what is sent is checked as well', () => {
  const bad = [
    [undefined, /the topic is undefined/],
    [{ topic: '', value: 'a' }, /the topic is empty/],
  ] as const

  it.each(bad)('send(%o)', async (record, said) => {
    const sending = make()
      .producer()
      .send(record as never)
    await expect(sending).rejects.toMatchObject({ code: 'UNENCODABLE', message: expect.stringMatching(said) })
  })

  it('sendMany without an array', async () => {
    const sending = make()
      .producer()
      .sendMany('orders', { messages: [] } as never)
    await expect(sending).rejects.toThrow('the records for orders are an object: give an array of { key, value }')
  })
})

describe('a secret that anybody on the way could read', () => {
  const plain = { mechanism: 'plain', credentials: { username: 'a', password: SECRET } }
  const elsewhere = ['localhost:9092', 'kafka.example.org:9092']

  it.each<[string, object, boolean]>([
    ['a password', { brokers: elsewhere, sasl: plain }, true],
    ['a token', { brokers: elsewhere, sasl: { mechanism: 'oauthbearer', token: { token: SECRET } } }, true],
    ['a password that is never sent', { brokers: elsewhere, sasl: { ...plain, mechanism: 'scram-sha-256' } }, false],
    ['with TLS', { brokers: elsewhere, sasl: plain, tls: true }, false],
    ['without TLS on purpose', { brokers: elsewhere, sasl: plain, tls: false }, false],
    ['on this machine', { brokers: ['localhost', '127.0.0.1:1', '[::1]:9092'], sasl: plain }, false],
  ])('is warned of: %s', (_, options, isWarned) => {
    const emit = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    try {
      make(options)
      const warning = [expect.stringMatching(/to kafka\.example\.org:9092 .* give tls/), expect.objectContaining({})]
      expect(emit.mock.calls).toEqual(isWarned ? [warning] : [])
      expect(JSON.stringify(emit.mock.calls)).not.toContain(SECRET)
    } finally {
      emit.mockRestore()
    }
  })
})
