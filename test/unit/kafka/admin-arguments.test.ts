import { afterAll, describe, expect, it } from 'vitest'
import { createClient, InvalidOptionsError } from '../../../src/kafka/index.ts'

const kafka = createClient({
  brokers: ['localhost:9092'],
  openSocket: (_, handlers) => {
    queueMicrotask(() => handlers.closed(new Error('no broker is there')))
    return { write: () => {}, destroy: () => {} }
  },
})
const admin = kafka.admin({ timeoutMs: 50 })

afterAll(() => kafka.close())

type Row = readonly [call: string, args: readonly unknown[], said: string]

const ORDERS = { type: 'topic', name: 'orders' }
const ACL = { resourceType: 'topic', resourceName: 'a', principal: 'User:a', operation: 'read' }
const SECRET = 'hunter2'

const ROWS: readonly Row[] = [
  ['topics.create', [{ topics: [] }], "topics is an object: give an array of topics, [{ name: 'orders'"],
  ['topics.create', [['orders']], 'topics[0] is "orders": give an object with name, partitions'],
  ['topics.create', [[{ topic: 'x' }]], 'topics[0].topic is not an option: write name; topics[0].name is undefined'],
  ['topics.create', [[{ name: 'a', numPartitions: 12 }]], 'topics[0].numPartitions is not an option: write partitions'],
  ['topics.create', [[{ name: 'a', configEntries: [] }]], 'topics[0].configEntries is not an option: write configs'],
  ['topics.create', [[{ name: 'a', partitions: 0 }]], 'topics[0].partitions is 0: give a whole number from 1 to'],
  ['topics.create', [[{ name: 'a', partitions: '3' }]], 'topics[0].partitions is "3": give a whole number'],
  [
    'topics.create',
    [[{ name: 'a', configs: { 'retention.ms': 1 } }]],
    "topics[0].configs['retention.ms'] is 1: give text",
  ],
  ['topics.create', [[{ name: 'a', configs: new Map() }]], 'topics[0].configs is an object: give an object, {'],
  ['topics.create', [[{ name: 'a', replicas: [1] }]], 'topics[0].replicas[0] is 1: give an array of ids of brokers'],
  ['topics.create', [[{ name: 'a', replicas: [[1]], partitions: 1 }]], 'topics[0].partitions is given beside replicas'],
  ['topics.create', [[{ name: 'a' }], { validate: true }], 'options.validate is not an option: there are validateOnly'],
  ['topics.create', [[{ name: 'a' }], null], 'options is null: give an object with validateOnly'],
  ['topics.delete', ['orders'], 'names is "orders": give an array of names of topics'],
  ['topics.delete', [['']], 'names[0] is empty: give the name of a topic'],
  ['topics.addPartitions', ['orders', 12], 'counts is "orders": give an object, { orders: 12 } for example'],
  ['topics.addPartitions', [{ orders: 1.5 }], "counts['orders'] is 1.5: give a whole number from 1 to"],
  ['topics.list', [{ internal: true }], 'options.internal is not an option: there are includeInternal'],
  ['topics.describe', ['orders'], 'names is "orders": give an array of names of topics'],
  ['records.offsets', ['orders', 'lates'], `at is "lates": give 'earliest', 'latest' or { timestampMs }`],
  ['records.offsets', ['orders', {}], 'at.timestampMs is undefined: give a whole number of 0 or more, milliseconds'],
  ['records.offsets', ['orders', new Date(5)], `at is an object: give 'earliest', 'latest' or { timestampMs }`],
  ['records.offsets', [{ topic: 'a' }, 'latest'], 'topic is an object: give the name of a topic'],
  ['records.offsets', ['a', 'latest', true], 'options is true: give an object with committed'],
  [
    'records.read',
    [{ topic: 'a', partition: 0, offset: -1 }, { max: 5 }],
    'place.offset is -1: give a whole number of 0 or more',
  ],
  ['records.read', [{ topic: 'a', partition: 0, offset: 0 }, { max: 5 }], 'options.max is not an option'],
  ['records.deleteBefore', ['a', [4]], 'offsets is an array: give an offset for each partition, { 0: 42 } for example'],
  ['records.deleteBefore', ['a', { 0: -2 }], 'offsets[0] is -2: give a whole number of -1 or more, or -1 for the end'],
  ['records.deleteBefore', ['a', { offset: 1 }], 'offsets has the key "offset": give numbers of partitions'],
  ['configs.describe', ['orders'], 'resource is "orders": give an object with type, name'],
  ['configs.describe', [{ type: 'topics', name: 'a' }], `resource.type is "topics": give 'topic', 'broker' or 'group'`],
  ['configs.describe', [{ type: 'broker', name: 'a' }], `resource.name is "a": give the id of a broker, or '' for all`],
  ['configs.describe', [{ type: 'topic', name: '' }], 'resource.name is empty: give the name of the topic'],
  ['configs.describe', [ORDERS, 'retention.ms'], 'names is "retention.ms": give an array of names of entries'],
  ['configs.alter', [ORDERS, { 'retention.ms': '1' }], 'changes.retention.ms is not an option: there are set, delete'],
  ['configs.alter', [ORDERS, { set: { a: 1 } }], "changes.set['a'] is 1: give text"],
  ['configs.alter', [ORDERS, { delete: 'a' }], 'changes.delete is "a": give an array of names of entries'],
  ['configs.alter', [ORDERS], 'changes is undefined: give an object with set, delete, append, subtract'],
  ['groups.describe', [['g']], 'groupId is an array: give the name of a group'],
  ['groups.delete', ['g'], 'groupIds is "g": give an array of names of groups'],
  ['offsets.list', [{ groupId: 'g' }], 'groupId is an object: give the name of a group'],
  ['offsets.alter', ['g', [{ topic: 'a', partition: 0, offset: -5 }]], 'offsets[0].offset is -5: give a whole number'],
  [
    'offsets.alter',
    ['g', [{ topic: 'a', partition: 0, offset: '3' }]],
    'offsets[0].offset is "3": give a whole number',
  ],
  ['offsets.alter', ['g', [{ topic: 'a', partition: 0, offset: 3n }]], 'offsets[0].offset is a bigint: give a whole'],
  ['offsets.alter', ['g', [{ topic: 'a', partitions: [0] }]], 'offsets[0].partitions is not an option: did you mean'],
  ['offsets.reset', ['g', ['a'], 'begin'], `to is "begin": give 'earliest', 'latest' or { timestampMs }`],
  ['offsets.reset', ['g', ['a'], { timestamp: 5 }], 'to.timestamp is not an option: did you mean timestampMs?'],
  ['offsets.reset', ['g', ['a'], { offset: 3 }], 'to.offset is not an option: set it with admin.offsets.alter'],
  ['offsets.reset', ['g', ['a'], { timestampMs: -1 }], 'to.timestampMs is -1: give a whole number of 0 or more'],
  ['offsets.reset', ['g', ['a']], `to is undefined: give 'earliest', 'latest' or { timestampMs }`],
  [
    'offsets.reset',
    [{ groupId: 'g', topic: 'a' }],
    'groupId is an object: give the name of a group; topics is undefined',
  ],
  ['offsets.delete', ['g', [{ topic: 'a', partitions: [0] }]], 'partitions[0].partition is undefined: give a whole'],
  ['shareOffsets.list', [''], 'groupId is empty: give the name of a group'],
  ['shareOffsets.alter', ['g', [{ topic: 'a', partition: 0, offset: 3 }]], 'offsets[0].offset is not an option: there'],
  ['shareOffsets.alter', ['g', [{ topic: 'a', partition: 0, startOffset: -1 }]], 'offsets[0].startOffset is -1: give'],
  ['shareOffsets.reset', ['g', ['a'], 'begin'], `to is "begin": give 'earliest', 'latest' or { timestampMs }`],
  ['shareOffsets.delete', ['g', [{ topic: 'a', partition: 0 }]], 'topics[0] is an object: give the name of a topic'],
  ['acls.create', [ACL], 'acls is an object: give an array of rules'],
  ['acls.create', [[{ ...ACL, resourceType: 'topics' }]], `acls[0].resourceType is "topics": give 'topic', 'group'`],
  ['acls.create', [[{ ...ACL, operation: 'any' }]], `acls[0].operation is "any": give 'all', 'read'`],
  ['acls.create', [[{ ...ACL, pattern: 'prefixed' }]], 'acls[0].pattern is not an option: there are resourceType'],
  ['acls.list', [{ user: 'a' }], 'filter.user is not an option'],
  ['acls.delete', [{ topic: 'a' }], 'filter.topic is not an option'],
  ['acls.delete', [], 'filter is undefined: give an object with resourceType'],
  ['users.list', ['bob'], 'users is "bob": give an array of names of users'],
  ['users.set', ['bob', 'SHA-256', SECRET], `mechanism is "SHA-256": give 'scram-sha-256' or 'scram-sha-512'`],
  ['users.set', ['bob', 'scram-sha-256', [SECRET]], 'password is an array: give the password'],
  [
    'users.set',
    ['b', 'scram-sha-256', SECRET, { iterations: 1 }],
    'options.iterations is 1: give a whole number from 4096',
  ],
  ['users.delete', ['bob'], "mechanism is undefined: give 'scram-sha-256'"],
  ['quotas.list', [{ clientId: 'a' }], "entity.clientId is not an option: write 'client-id'"],
  ['quotas.alter', [{ user: 'a' }, { producer_byte_rate: '1' }], `values['producer_byte_rate'] is "1": give a number`],
  ['quotas.alter', [{ user: 'a' }], 'values is undefined: give an object, { producer_byte_rate'],
  ['transactions.list', [{ states: ['ongoing'] }], `options.states[0] is "ongoing": give 'Empty', 'Ongoing'`],
  ['transactions.describe', [undefined], 'transactionalId is undefined: give the transactional id of a producer'],
  ['transactions.fence', [undefined], 'transactionalId is undefined: give the transactional id of a producer'],
  ['transactions.producers', ['a'], 'partition is undefined: give a whole number'],
  ['transactions.abort', ['a', 0, { producerId: 1 }], 'producer.producerId is 1: give a bigint of 0 or more'],
  ['cluster.electLeaders', [['a']], 'partitions[0] is "a": give an object with topic, partition'],
  ['cluster.electLeaders', [[], 'clean'], `kind is "clean": give 'preferred' or 'unclean'`],
  [
    'cluster.reassign',
    [[{ topic: 'a', partition: 0 }]],
    'moves[0].replicas is undefined: give an array of ids of brokers',
  ],
]

/** The parts of `admin`, and the methods of each. */
const PARTS: ReadonlyMap<string, ReadonlyMap<string, (...args: readonly unknown[]) => Promise<unknown>>> = new Map(
  Object.entries(admin).map(([part, methods]: [string, object]) => {
    const prototype = Object.getPrototypeOf(methods) as Record<
      string,
      (...args: readonly unknown[]) => Promise<unknown>
    >
    const names = Object.getOwnPropertyNames(prototype).filter((name) => name !== 'constructor')
    return [part, new Map(names.map((name) => [name, (...args) => prototype[name]!.apply(methods, [...args])]))]
  }),
)

/** They take nothing. */
const WITHOUT_ARGUMENTS = ['groups.list', 'cluster.describe', 'cluster.logDirs', 'cluster.reassignments']

describe('the arguments of an admin call', () => {
  it.each(ROWS)('%s, given %o', async (call, args, said) => {
    const [part = '', method = ''] = call.split('.')
    const calling = PARTS.get(part)?.get(method)?.(...args) ?? Promise.reject(new Error('there is no such call'))
    const error = await calling.catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(InvalidOptionsError)
    const { message } = error as InvalidOptionsError
    expect(message).toContain(`admin.${call} can't use its options: ${said}`)
    expect(message).not.toContain(SECRET)
  })

  it('are checked by every call that takes any', () => {
    const calls = [...PARTS].flatMap(([part, methods]) => [...methods.keys()].map((name) => `${part}.${name}`))
    const checked = new Set(ROWS.map(([call]) => call))
    expect(calls.filter((call) => !checked.has(call))).toEqual(WITHOUT_ARGUMENTS)
  })

  it('may be what another call has resolved with', async () => {
    const offset = { topic: 'a', partition: 0, offset: 3, leaderEpoch: 2, metadata: '' }
    const producer = { producerId: 1n, producerEpoch: 0, coordinatorEpoch: -1, lastSequence: 4 }
    const calls = [
      admin.offsets.alter('g', [offset]),
      admin.offsets.delete('g', [offset]),
      admin.acls.delete({ ...ACL, host: '*', patternType: 'literal', permission: 'allow' } as never),
      admin.transactions.abort('a', 0, producer),
    ]
    for (const { status, ...result } of await Promise.allSettled(calls)) {
      expect(status).toBe('rejected')
      expect(result).not.toHaveProperty('reason.code', 'INVALID_OPTIONS')
    }
  })
})
