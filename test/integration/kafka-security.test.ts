import { readFileSync } from 'node:fs'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { TestContext } from 'vitest'
import { createAdmin } from '../../src/kafka/admin/admin.ts'
import type { Acl } from '../../src/kafka/admin/acls.ts'
import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import type { ClusterOptions } from '../../src/kafka/cluster/cluster-options.ts'
import { Consumer } from '../../src/kafka/consumer/consumer.ts'
import { systemClock } from '../../src/kafka/network/clock.ts'
import type { SaslOptions } from '../../src/kafka/network/sasl/sasl.ts'
import { Producer } from '../../src/kafka/producer/producer.ts'
import { waitFor } from '../../tools/brokers/index.ts'
import { addressesOf, useKafka } from './kafka-broker.ts'

const SESSION_MS = 5_000
const LIMIT = { timeout: 60_000 }
/** Well below any timeout of the client: an error that no retry can mend is reported at once. */
const AT_ONCE_MS = 3_000

const USERS = ['alice', 'reader', 'writer', 'nobody'].map((name) => ({ name, password: `${name}-secret` }))
const kafka = useKafka({ secure: { users: USERS, reauthMs: SESSION_MS } })

const closing: (() => Promise<void> | void)[] = []

afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

/** What each user may do. */
const RIGHTS: readonly Pick<Acl, 'principal' | 'resourceType' | 'resourceName' | 'operation'>[] = [
  ...['User:alice', 'User:CN=client'].flatMap((principal) => [
    { principal, resourceType: 'topic', resourceName: 'open', operation: 'all' } as const,
    { principal, resourceType: 'group', resourceName: 'open', operation: 'all' } as const,
  ]),
  { principal: 'User:writer', resourceType: 'topic', resourceName: 'closed', operation: 'describe' },
  { principal: 'User:writer', resourceType: 'topic', resourceName: 'another', operation: 'write' },
  { principal: 'User:reader', resourceType: 'topic', resourceName: 'closed', operation: 'describe' },
  { principal: 'User:reader', resourceType: 'group', resourceName: 'open', operation: 'read' },
]

beforeAll(async () => {
  const { started } = kafka
  if (started === undefined) return
  const cluster = new Cluster({ brokers: addressesOf(started), clientId: 'admin' })
  const admin = createAdmin(cluster)
  await admin.topics.create(['open', 'closed', 'another'].map((name) => ({ name, partitions: 2 })))
  await admin.acls.create(RIGHTS)
  await waitFor(async () => (await admin.acls.list({})).length === RIGHTS.length, { timeoutMs: 10_000 })
  cluster.close()
}, 60_000)

type Listener = 'saslSsl' | 'saslPlaintext' | 'ssl'

function connect(
  context: TestContext,
  listener: Listener,
  options: Partial<ClusterOptions>,
): { readonly cluster: Cluster; readonly producer: Producer; readonly consumer: Consumer } {
  const broker = kafka.of(context)
  const ca = readFileSync(broker.tls?.caFile ?? '')
  const tls = listener === 'saslPlaintext' ? {} : { tls: { ca } }
  const cluster = new Cluster({ brokers: [broker.listeners[listener] ?? ''], clientId: 'test', ...tls, ...options })
  const producer = new Producer({}, { cluster })
  const group = { topics: ['open'], group: 'open', maxWaitMs: 100 }
  const consumer = new Consumer({ cluster, clock: systemClock, random: Math.random }, group)
  closing.push(async () => {
    await consumer.close()
    await producer.close()
    cluster.close()
  })
  return { cluster, producer, consumer }
}

function saslOf(user: string, mechanism: Exclude<SaslOptions['mechanism'], 'oauthbearer'> = 'plain'): SaslOptions {
  return { mechanism, credentials: { username: user, password: `${user}-secret` } }
}

/** What the broker's default validator takes: no signature. */
function unsecuredToken(lifetimeMs: number): string {
  const seconds = Date.now() / 1_000
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
  return `${encode({ alg: 'none' })}.${encode({ sub: 'alice', iat: seconds, exp: seconds + lifetimeMs / 1_000 })}.`
}

/** One record there and back. */
async function roundTrip({ producer, consumer }: ReturnType<typeof connect>, value: string): Promise<void> {
  await producer.send({ topic: 'open', value })
  for await (const batch of consumer) {
    const found = batch.records.some((record) => record.valueText === value)
    batch.done()
    if (found) return
  }
}

async function refusal(running: Promise<unknown>): Promise<unknown> {
  const start = performance.now()
  const error = await running.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(performance.now() - start).toBeLessThan(AT_ONCE_MS)
  return error
}

const MECHANISMS: readonly SaslOptions[] = [
  saslOf('alice', 'plain'),
  saslOf('alice', 'scram-sha-256'),
  saslOf('alice', 'scram-sha-512'),
  { mechanism: 'oauthbearer', token: () => ({ token: unsecuredToken(60_000) }) },
]

const WRONG: readonly SaslOptions[] = [
  ...(['plain', 'scram-sha-256', 'scram-sha-512'] as const).map((mechanism): SaslOptions => {
    return { mechanism, credentials: { username: 'alice', password: 'wrong-secret' } }
  }),
  { mechanism: 'oauthbearer', token: { token: unsecuredToken(-60_000) } },
]

describe('authentication', () => {
  test.for(MECHANISMS)('lets a producer and a group in by $mechanism over TLS', LIMIT, async (sasl, context) => {
    await roundTrip(connect(context, 'saslSsl', { sasl }), `by ${sasl.mechanism}`)
  })

  test.for(WRONG)('refuses wrong credentials of $mechanism at once, to all who ask', LIMIT, async (sasl, context) => {
    const { cluster, producer, consumer } = connect(context, 'saslPlaintext', { sasl })
    const errors = await Promise.all([
      refusal(producer.send({ topic: 'open', value: 'never' })),
      refusal(consumer.next()),
      refusal(createAdmin(cluster).topics.list()),
    ])
    for (const error of errors) {
      expect(error).toMatchObject({ code: 'AUTHENTICATION_FAILED', action: 'fatal' })
      expect((error as Error).message).toContain(sasl.mechanism.toUpperCase())
      expect((error as Error).message).not.toContain('wrong-secret')
    }
  })

  test('goes on while sessions and tokens end all the time', LIMIT, async (context) => {
    const events: string[] = []
    let tokens = 0
    const sasl: SaslOptions = {
      mechanism: 'oauthbearer',
      token: () => {
        tokens++
        return { token: unsecuredToken(SESSION_MS) }
      },
    }
    const hooks: ClusterOptions['hooks'] = {
      onConnection: ({ type, purpose }) => {
        if (type !== 'connected') events.push(`${type} ${purpose}`)
      },
    }
    const client = connect(context, 'saslSsl', { sasl, hooks })
    await roundTrip(client, 'first')
    events.length = 0
    const before = tokens
    const start = performance.now()
    const expected: string[] = []
    const seen: string[] = []
    const reading = client.consumer.run({ handler: ({ valueText }) => void seen.push(valueText ?? '') })
    let longestMs = 0
    // Two sessions, of which each ends at 85 %.
    for (let turn = 0; performance.now() - start < 2 * SESSION_MS; turn++) {
      const values = Array.from({ length: 20 }, (_, index) => `${turn} ${index}`)
      const begun = performance.now()
      await Promise.all(values.map((value) => client.producer.send({ topic: 'open', value })))
      longestMs = Math.max(longestMs, performance.now() - begun)
      expected.push(...values)
    }
    await waitFor(() => seen.length >= expected.length, { timeoutMs: 10_000 })
    expect(events).toEqual([])
    await client.consumer.close()
    await reading
    expect(seen.toSorted()).toEqual(expected.toSorted())
    expect(tokens - before).toBeGreaterThan(4)
    expect(longestMs).toBeLessThan(1_000)
  })
})

describe('certificates', () => {
  const certificate = (context: TestContext): TlsOptions => {
    const { caFile = '', certFile = '', keyFile = '' } = kafka.of(context).tls ?? {}
    return { ca: readFileSync(caFile), cert: readFileSync(certFile), key: readFileSync(keyFile) }
  }

  test('of a client say who it is', LIMIT, async (context) => {
    await roundTrip(connect(context, 'ssl', { tls: certificate(context) }), 'by certificate')
  })

  test('of a broker hold for its name, of whose addresses only one answers', LIMIT, async (context) => {
    const { caFile = '' } = kafka.of(context).tls ?? {}
    const port = kafka.of(context).listeners.saslSsl?.split(':')[1] ?? ''
    const options: Partial<ClusterOptions> = {
      brokers: [`localhost:${port}`],
      resolve: () => Promise.resolve(['::1', '127.0.0.1']),
      sasl: saslOf('alice', 'scram-sha-256'),
      tls: { ca: readFileSync(caFile) },
    }
    await roundTrip(connect(context, 'saslSsl', options), 'by name')
  })

  test('of another authority are not trusted', LIMIT, async (context) => {
    // The client's certificate has signed nobody.
    const { certFile = '' } = kafka.of(context).tls ?? {}
    const options = { sasl: saslOf('alice'), tls: { ca: readFileSync(certFile) } }
    const { cluster } = connect(context, 'saslSsl', options)
    const error = await refusal(cluster.refresh())
    expect(error).toMatchObject({ code: 'CLUSTER_UNREACHABLE' })
    expect((error as Error).message).toMatch(/certificate/)
  })

  test('are read for each connection: one that was missing is used when it is there', LIMIT, async (context) => {
    const good = certificate(context)
    let isThere = false
    const failures: string[] = []
    const hooks: ClusterOptions['hooks'] = {
      onConnection: (event) => {
        if (event.type === 'failed') failures.push(event.error.message)
        isThere ||= failures.length > 1
      },
    }
    const { ca } = good
    const tls = (): TlsOptions => (isThere ? good : ca === undefined ? {} : { ca })
    await roundTrip(connect(context, 'ssl', { tls, hooks }), 'by a later certificate')
    expect(failures[0]).toMatch(/certificate/)
  })
})

describe('what no ACL allows', () => {
  test.for([
    ['nobody', 'Describe on the topic'],
    ['reader', 'Write on any topic, or IdempotentWrite on the cluster'],
    ['writer', 'Write on the topic'],
  ] as const)(
    'is refused to a producer, with the right that it lacks: %s, %s',
    LIMIT,
    async ([user, right], context) => {
      const { producer } = connect(context, 'saslPlaintext', { sasl: saslOf(user) })
      const error = await refusal(producer.send({ topic: 'closed', value: 'never' }))
      expect(error).toMatchObject({ action: 'fatal', missingRight: right })
      expect((error as Error).message).toContain(right)
    },
  )

  test.for([
    ['writer', 'open', 'Describe on the group'],
    ['reader', 'open', 'Read on the topic'],
    ['nobody', undefined, 'Describe on the topic'],
  ] as const)('is refused to a consumer: %s in group %s lacks %s', LIMIT, async ([user, group, right], context) => {
    const { cluster } = connect(context, 'saslPlaintext', { sasl: saslOf(user) })
    const options = { topics: ['closed'], ...(group === undefined ? {} : { group }) }
    const consumer = new Consumer({ cluster, clock: systemClock, random: Math.random }, options)
    closing.push(() => consumer.close())
    expect(await refusal(consumer.next())).toMatchObject({ action: 'fatal', missingRight: right })
  })

  test('is refused to a transaction', LIMIT, async (context) => {
    const { cluster } = connect(context, 'saslPlaintext', { sasl: saslOf('writer') })
    const producer = new Producer({ transactionalId: 'theirs' }, { cluster })
    closing.push(() => producer.close())
    const error = await refusal(producer.transaction((tx) => tx.send({ topic: 'another', value: 'never' })))
    expect(error).toMatchObject({ action: 'fatal', missingRight: 'Describe on the transactional id' })
  })

  test('is refused to an administrator', LIMIT, async (context) => {
    const { cluster } = connect(context, 'saslPlaintext', { sasl: saslOf('reader') })
    const { topics, groups } = createAdmin(cluster)
    expect(await refusal(topics.create([{ name: 'mine' }]))).toMatchObject({ missingRight: 'Create on the topic' })
    expect(await refusal(topics.delete(['closed']))).toMatchObject({ missingRight: 'Delete on the topic' })
    expect(await refusal(groups.delete(['open']))).toMatchObject({ missingRight: 'Delete on the group' })
  })
})
