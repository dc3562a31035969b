import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { Cluster } from '../../../src/kafka/cluster/cluster.ts'
import type { MetadataChange } from '../../../src/kafka/cluster/metadata.ts'
import type { MetadataRequest } from '../../../src/kafka/protocol/generated/api-types.ts'
import { expectNothingLeft, produceBody, setUp, withTopic } from './cluster-helpers.ts'

describe('bootstrap', () => {
  it('learns brokers and leaders from any address, and leaves nothing behind', async () => {
    const { sim, cluster } = await withTopic()
    expect([...cluster.metadata.nodes.keys()]).toEqual([1, 2, 3])
    expect([0, 1, 2].map((index) => cluster.metadata.leaderOf('t', index)?.leader)).toEqual([1, 2, 3])
    expect(cluster.metadata.clusterId).toBe('simulated')
    const { response } = await sim.run(cluster.send(2, 'Produce', produceBody(sim, 1)))
    expect(response.responses[0]?.partitionResponses).toMatchObject([{ index: 1, errorCode: 0, baseOffset: 0 }])
    expect(sim.log('t', 1).endOffset).toBe(2)
    await expectNothingLeft(sim, cluster)
  })

  it('says which version of this package it is', async () => {
    const { sim, cluster } = setUp()
    await sim.run(cluster.refresh())
    const asked = sim.requests.find(({ api }) => api === 'ApiVersions')
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }
    expect(asked?.body).toMatchObject({ clientSoftwareName: 'busbar', clientSoftwareVersion: version })
    await expectNothingLeft(sim, cluster)
  })

  it('makes no connection before it is used', async () => {
    const { sim, cluster } = setUp()
    await sim.advance(1_000_000)
    expect(sim.network.dialled).toEqual([])
    await expectNothingLeft(sim, cluster)
  })

  it('goes on with the next address in a moment when the first swallows everything', async () => {
    const { sim, cluster } = setUp({}, { brokers: ['hole:9092', 'broker-2:9092'] })
    sim.network.blackHole('hole', 9092)
    const start = sim.clock.now()
    await sim.run(cluster.refresh())
    expect(sim.clock.now() - start).toBeLessThan(1_100)
    await expectNothingLeft(sim, cluster)
  })

  it('goes on with the next address when a host has no address, or refuses', async () => {
    const { sim, cluster } = setUp({}, { brokers: ['nowhere', 'other:1', '[::1]:9092'] })
    sim.network.setName('nowhere', [])
    sim.network.setName('::1', ['broker-1'])
    sim.broker(1).stop()
    sim.broker(1).start('::1', 9092)
    await sim.run(cluster.refresh())
    expect(sim.network.dialled.slice(0, 2)).toEqual(['other:1', '::1:9092'])
    await expectNothingLeft(sim, cluster)
  })

  it('tries all addresses of a name, and begins with the one that worked when it connects again', async () => {
    const { sim, cluster } = setUp({ brokers: 1 }, { brokers: ['kafka:9092'] })
    sim.network.setName('kafka', ['10.0.0.1', '10.0.0.2', '10.0.0.3'])
    sim.broker(1).stop()
    sim.broker(1).start('10.0.0.2', 9092)
    await sim.run(cluster.refresh())
    expect(sim.network.dialled).toEqual(['10.0.0.1:9092', '10.0.0.2:9092'])
    await expectNothingLeft(sim, cluster)
  })

  it.each(['', 'host:0', 'host:99999', 'a b', 'http://host:9092', '[::1', ':9092'])(
    'refuses the address %j',
    (address) => {
      expect(() => new Cluster({ brokers: [address] })).toThrow(expect.objectContaining({ code: 'INVALID_OPTIONS' }))
    },
  )

  it('says why when no broker can be reached, and goes on trying', async () => {
    const { sim, cluster } = setUp()
    for (const id of [1, 2, 3]) sim.kill(id)
    const error = await sim.run(cluster.refresh().catch((reason: unknown) => reason))
    expect(error).toMatchObject({ code: 'CLUSTER_UNREACHABLE', action: 'refresh', outcome: 'not-sent' })
    expect(String(error)).toMatch(/ECONNREFUSED broker-\d:9092/)
    const waiting = cluster.waitFor('a broker', () => cluster.metadata.nodes.get(1))
    await sim.advance(60_000)
    sim.start(1)
    const start = sim.clock.now()
    await sim.run(waiting)
    expect(sim.clock.now() - start).toBeLessThan(3_000)
    await expectNothingLeft(sim, cluster)
  })
})

describe('metadata', () => {
  it('follows a leader that moves, with one refresh for all who notice', async () => {
    const { sim, cluster } = await withTopic()
    const changes: MetadataChange[] = []
    cluster.onChange((some) => changes.push(...some))
    sim.moveLeader('t', 0, 3)
    const before = sim.requests.length
    for (let count = 0; count < 50; count++) cluster.wantRefresh()
    await sim.run(cluster.waitFor('the new leader', () => cluster.metadata.leaderOf('t', 0)?.leader === 3 || undefined))
    expect(changes).toEqual([{ type: 'leader', topic: 't', partition: 0, leader: 3 }])
    expect(sim.requests.slice(before).filter(({ api }) => api === 'Metadata').length).toBeLessThanOrEqual(2)
    await expectNothingLeft(sim, cluster)
  })

  it('takes the leader that a refusal names without asking', async () => {
    const { sim, cluster } = await withTopic()
    sim.moveLeader('t', 0, 2)
    const { response } = await sim.run(cluster.send(1, 'Produce', produceBody(sim, 0)))
    const [refused] = response.responses[0]?.partitionResponses ?? []
    expect(refused?.errorCode).toBe(6)
    const { leaderId = -1, leaderEpoch = -1 } = refused?.currentLeader ?? {}
    const hint = { topic: 't', partition: 0, leader: leaderId, epoch: leaderEpoch, endpoints: response.nodeEndpoints }
    expect(cluster.applyHint(hint)).toBe(true)
    expect(cluster.metadata.leaderOf('t', 0)).toEqual({ leader: 2, epoch: 1 })
    await expectNothingLeft(sim, cluster)
  })

  it('waits for a topic that is made later, asking ever more rarely', async () => {
    const { sim, cluster } = setUp()
    cluster.track().add('late')
    const waiting = sim.run(cluster.topic('late'))
    sim.clock.setTimer(() => sim.createTopic('late'), 30_000)
    expect((await waiting).partitions).toEqual([{ leader: 1, epoch: 0 }])
    expect(sim.requests.filter(({ api }) => api === 'Metadata').length).toBeLessThan(60)
    await expectNothingLeft(sim, cluster)
  })

  it.each(['named', 'all'])('looks only for what is missing, and as often as ever for the rest (%s)', async (which) => {
    const { sim, cluster } = setUp()
    for (const name of ['a', 'b', 'c']) sim.createTopic(name)
    const tracked = cluster.track()
    for (const name of ['a', 'b', 'late']) tracked.add(name)
    if (which === 'all') cluster.trackAll()
    await sim.advance(1_000)
    const start = sim.clock.now()
    const asked = () => {
      const bodies = sim.requests.filter(({ api, at }) => api === 'Metadata' && at > start).map(({ body }) => body)
      return bodies.map((body) => (body as MetadataRequest).topics?.map(({ name }) => name) ?? null)
    }
    await sim.advance(60_000)
    expect(new Set(asked().map(String))).toEqual(new Set(['late']))
    expect(asked().length).toBeLessThanOrEqual(31)
    await sim.advance(300_000)
    expect(asked().filter((topics) => topics?.length !== 1)).toEqual([which === 'all' ? null : ['a', 'b', 'late']])
    expect(cluster.metadata.topic('c')?.errorCode).toBe(which === 'all' ? 0 : undefined)
    sim.createTopic('late')
    await sim.advance(2_500)
    expect(cluster.metadata.leaderOf('late', 0)).toMatchObject({ leader: 1 })
    const { length } = asked()
    await sim.advance(60_000)
    expect(asked().length).toBe(length)
    await expectNothingLeft(sim, cluster)
  })

  it('ends a wait with the time, the signal, or close, and says why', async () => {
    const { sim, cluster } = setUp()
    cluster.track().add('none')
    const abort = new AbortController()
    const timedOut = cluster.topic('none', { timeoutMs: 5_000 })
    const aborted = cluster.leader('none', 0, { signal: abort.signal })
    const closed = cluster.topic('none')
    const results = Promise.allSettled([timedOut, aborted, closed])
    await sim.advance(4_000)
    abort.abort()
    await sim.advance(2_000)
    cluster.close()
    const reasons = (await sim.run(results)).map((result) => (result.status === 'rejected' ? result.reason : undefined))
    expect(reasons).toMatchObject([{ code: 'NOT_FOUND' }, { code: 'ABORTED' }, { code: 'CLOSED' }])
    expect(reasons[0].message).toMatch(/none/)
    await expectNothingLeft(sim, cluster)
  })

  it('keeps all topics for patterns, and notices those that are deleted', async () => {
    const { sim, cluster } = setUp()
    sim.createTopic('a')
    sim.createTopic('b')
    const end = cluster.trackAll()
    await sim.run(cluster.refresh())
    sim.deleteTopic('a')
    await sim.run(cluster.refresh())
    expect([...cluster.metadata.topics()].map(({ name, errorCode }) => [name, errorCode])).toEqual([
      ['a', 3],
      ['b', 0],
    ])
    end()
    expect([...cluster.metadata.topics()]).toEqual([])
    await expectNothingLeft(sim, cluster)
  })

  it('forgets a topic when the last one who tracks it releases it', async () => {
    const { sim, cluster, tracked } = await withTopic()
    const other = cluster.track()
    other.add('t')
    tracked.release()
    expect(cluster.metadata.topic('t')).toBeDefined()
    const refreshing = cluster.refresh()
    other.release()
    await sim.run(refreshing)
    expect(cluster.metadata.topic('t')).toBeUndefined()
    await expectNothingLeft(sim, cluster)
  })

  it('reports a topic that was made again once, though one broker still answers with the old one', async () => {
    const { sim, cluster } = await withTopic()
    const changes: MetadataChange[] = []
    cluster.onChange((some) => changes.push(...some))
    sim.lag(2)
    const oldId = sim.topic('t').id
    const newId = sim.recreateTopic('t').id
    for (let count = 0; count < 20; count++) await sim.run(cluster.refresh())
    expect(changes.filter(({ type }) => type === 'recreated')).toEqual([
      { type: 'recreated', topic: 't', oldId, newId },
    ])
    expect(cluster.metadata.topic('t')?.id).toBe(newId)
    await expectNothingLeft(sim, cluster)
  })
})
