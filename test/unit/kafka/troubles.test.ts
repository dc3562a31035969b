import { describe, expect, it } from 'vitest'
import { clusterError } from '../../../src/kafka/cluster/cluster-errors.ts'
import { Troubles } from '../../../src/kafka/cluster/troubles.ts'
import { createClient } from '../../../src/kafka/index.ts'
import type { ClientOptions, KafkaClient, TroubleEvent } from '../../../src/kafka/index.ts'
import { SimCluster } from './sim/sim-cluster.ts'
import type { SimOptions } from './sim/sim-cluster.ts'

interface Parts {
  readonly sim: SimCluster
  readonly kafka: KafkaClient
  readonly events: TroubleEvent[]
  readonly lines: () => string[]
}

function setUp(changes: Partial<ClientOptions> = {}, options: SimOptions = {}): Parts {
  const sim = new SimCluster(options)
  const events: TroubleEvent[] = []
  const hooks = { onTrouble: (event: TroubleEvent) => void events.push(event) }
  const kafka = createClient({ ...sim.clientOptions(), ...changes, hooks })
  const lines = () => events.map(({ type, about, name, error }) => `${type} ${about} ${name} ${error.code}`)
  return { sim, kafka, events, lines }
}

function reading({ kafka }: Parts, topic: string, group?: string): { readonly values: string[] } {
  const values: string[] = []
  const running = kafka
    .consumer({ topics: [topic], ...(group === undefined ? {} : { group }) })
    .run({ handler: (record) => void values.push(record.valueText ?? '') })
  running.catch((error: unknown) => values.push(String(error)))
  return { values }
}

describe('onTrouble', () => {
  it.each([undefined, 'g'])('reports that no broker can be reached, and when one can (group %s)', async (group) => {
    const parts = setUp({}, { brokers: 1 })
    const { sim, kafka, events, lines } = parts
    sim.createTopic('t', 1)
    const { host, port } = sim.broker(1)
    sim.kill(1)
    const { values } = reading(parts, 't', group)
    await sim.advance(5_000)
    expect(lines()).toEqual([`trouble cluster ${host}:${port} CLUSTER_UNREACHABLE`])
    expect(events[0]?.error.message).toContain(`connect ECONNREFUSED ${host}:${port}`)
    expect(events[0]?.error.cause).toBeInstanceOf(Error)
    sim.start(1)
    await sim.advance(5_000)
    expect(lines().slice(1)).toEqual([`over cluster ${host}:${port} CLUSTER_UNREACHABLE`])
    expect(events[1]?.durationMs).toBeGreaterThan(4_000)
    await sim.run(kafka.producer().send({ topic: 't', value: 'a' }))
    await sim.advance(1_000)
    expect(values).toEqual(['a'])
    await sim.run(kafka.close())
  })

  it.each([undefined, 'g'])(
    'reports a topic that does not exist, and reads it once it does (group %s)',
    async (group) => {
      const parts = setUp()
      const { sim, kafka, events, lines } = parts
      const { values } = reading(parts, 'ordesr', group)
      await sim.advance(25_000)
      expect(lines()).toEqual(['trouble topic ordesr NOT_FOUND'])
      expect(events[0]?.error.message).toBe('the topic ordesr does not exist, or not yet: make it, or correct its name')
      sim.createTopic('ordesr', 1)
      await sim.run(kafka.producer().send({ topic: 'ordesr', value: 'a' }))
      await sim.advance(10_000)
      expect(lines().slice(1)).toEqual(['over topic ordesr NOT_FOUND'])
      expect(values).toEqual(['a'])
      await sim.run(kafka.close())
    },
  )

  it('looks seldom for a topic that does not exist', async () => {
    const parts = setUp()
    const { sim, kafka } = parts
    reading(parts, 'ordesr')
    await sim.advance(60_000)
    const asked = sim.requests.filter(({ api }) => api === 'Metadata').length
    expect(asked).toBeGreaterThan(15)
    expect(asked).toBeLessThan(40)
    await sim.run(kafka.close())
  })

  it('reports one broker that can not be connected to while the others answer, until it answers', async () => {
    const parts = setUp()
    const { sim, kafka, lines } = parts
    sim.createTopic('t', 3)
    sim.failoverMs = 1_000_000
    sim.kill(2)
    const { host, port } = sim.broker(2)
    reading(parts, 't')
    await sim.advance(20_000)
    expect(lines()).toEqual([`trouble broker 2 (${host}:${port}) CONNECTION_CLOSED`])
    sim.start(2)
    await sim.advance(5_000)
    expect(lines().slice(1)).toEqual([`over broker 2 (${host}:${port}) CONNECTION_CLOSED`])
    await sim.run(kafka.close())
  })

  it('reports a group without a coordinator', async () => {
    const parts = setUp()
    const { sim, kafka, lines } = parts
    sim.createTopic('t', 1)
    sim.coordinators.isAvailable = false
    const { values } = reading(parts, 't', 'g')
    await sim.advance(4_000)
    expect(lines()).toEqual([])
    await sim.advance(6_000)
    expect(lines()).toEqual(['trouble coordinator group g COORDINATOR_NOT_AVAILABLE'])
    sim.coordinators.isAvailable = true
    await sim.run(kafka.producer().send({ topic: 't', value: 'a' }))
    await sim.advance(10_000)
    expect(lines().slice(1)).toEqual(['over coordinator group g COORDINATOR_NOT_AVAILABLE'])
    expect(values).toEqual(['a'])
    await sim.run(kafka.close())
  })

  it('reports a partition without a leader', async () => {
    const parts = setUp()
    const { sim, kafka, lines, events } = parts
    sim.createTopic('t', 3)
    sim.moveLeader('t', 1, undefined)
    reading(parts, 't')
    await sim.advance(5_000)
    expect(lines()).toEqual(['trouble topic t NOT_FOUND'])
    expect(events[0]?.error.message).toContain('t[1] has no leader')
    sim.moveLeader('t', 1, 1)
    await sim.advance(5_000)
    expect(lines().slice(1)).toEqual(['over topic t NOT_FOUND'])
    await sim.run(kafka.close())
  })

  it('reports credentials that can not be had, and that were refused', async () => {
    const security = { users: new Map([['me', 'right']]) }
    let credentials: (() => { username: string; password: string }) | undefined
    const sasl = {
      mechanism: 'plain' as const,
      credentials: () => {
        if (credentials === undefined) throw new Error('the vault is sealed')
        return credentials()
      },
    }
    const parts = setUp({ sasl }, { security })
    const { sim, kafka, events } = parts
    reading(parts, 't')
    await sim.advance(10_000)
    expect(events.map(({ type, about }) => `${type} ${about}`)).toEqual(['trouble cluster'])
    expect(events[0]?.error.message).toContain('the vault is sealed')
    credentials = () => ({ username: 'me', password: 'wrong' })
    await sim.advance(10_000)
    expect(events.at(-1)).toMatchObject({ type: 'trouble', error: { code: 'AUTHENTICATION_FAILED' } })
    credentials = () => ({ username: 'me', password: 'right' })
    await sim.advance(10_000)
    expect(events.find(({ type }) => type === 'over')).toMatchObject({ about: 'cluster' })
    await sim.run(kafka.close())
  })

  it('says nothing while everything works, or a new topic is known to some brokers only', async () => {
    const parts = setUp()
    const { sim, kafka, events } = parts
    const end = sim.lag(2)
    sim.createTopic('t', 3)
    const { values } = reading(parts, 't', 'g')
    await sim.advance(500)
    end()
    await sim.run(kafka.producer().send({ topic: 't', value: 'a' }))
    await sim.advance(20_000)
    expect(values).toEqual(['a'])
    expect(events).toEqual([])
    await sim.run(kafka.close())
    expect(events).toEqual([])
  })
})

describe('reports of trouble', () => {
  const subject = { about: 'broker', name: '1 (b:9092)' } as const
  const closed = clusterError('CLUSTER_UNREACHABLE', 'refused')
  const late = clusterError('WAIT_TIMEOUT', 'late')

  function reports() {
    const seen: string[] = []
    const clock = { now: 0 }
    const troubles = new Troubles(
      () => clock.now,
      ({ type, error, durationMs }) => void seen.push(`${clock.now} ${type} ${error.code} ${durationMs}`),
    )
    return { seen, clock, troubles }
  }

  it('come once every 30 s while it lasts, after 5 s for another reason', () => {
    const { seen, clock, troubles } = reports()
    for (; clock.now <= 62_000; clock.now += 1_000) troubles.failed(subject, clock.now < 31_000 ? closed : late)
    expect(seen).toEqual([
      '0 trouble CLUSTER_UNREACHABLE 0',
      '30000 trouble CLUSTER_UNREACHABLE 30000',
      '35000 trouble WAIT_TIMEOUT 35000',
    ])
  })

  it('come no more often when it works and fails by turns', () => {
    const { seen, clock, troubles } = reports()
    for (; clock.now < 60_000; clock.now += 1_000) {
      if (clock.now % 2_000 === 0) troubles.failed(subject, closed)
      else troubles.ended(subject)
    }
    expect(seen).toEqual([
      '0 trouble CLUSTER_UNREACHABLE 0',
      '1000 over CLUSTER_UNREACHABLE 1000',
      '30000 trouble CLUSTER_UNREACHABLE 0',
      '31000 over CLUSTER_UNREACHABLE 1000',
    ])
  })

  it('do not come for what is over within the grace', () => {
    const { seen, clock, troubles } = reports()
    troubles.failed(subject, closed, 1_000)
    clock.now = 999
    troubles.failed(subject, closed, 1_000)
    troubles.ended(subject)
    expect(seen).toEqual([])
  })
})
