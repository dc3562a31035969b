import { describe, expect, it } from 'vitest'
import { Cluster } from '../../../src/kafka/cluster/cluster.ts'
import type { ConnectionEvent, RequestEvent, ThrottleEvent } from '../../../src/kafka/cluster/hooks.ts'
import type { KafkaError } from '../../../src/kafka/errors.ts'
import { expectNothingLeft, produceBody, setUp, withTopic } from './cluster-helpers.ts'
import type { SimCluster } from './sim/sim-cluster.ts'

const LIST = { statesFilter: [], typesFilter: [] }
const GROUP = { type: 'group', key: 'g' } as const
const HEARTBEAT = { groupId: 'g', generationId: 1, memberId: 'm' }

function failure(promise: Promise<unknown>): Promise<KafkaError> {
  return promise.then(
    () => {
      throw new Error('it was expected to fail')
    },
    (error: unknown) => error as KafkaError,
  )
}

function asked(sim: SimCluster, api: string): number {
  return sim.requests.filter((request) => request.api === api).length
}

describe('brokers that are replaced', () => {
  it('are found again at other addresses, from the bootstrap name', async () => {
    const { sim, cluster } = await withTopic({}, { bootstrapAfterMs: 5_000 })
    const other = new Cluster(sim.clientOptions({ brokers: ['kafka:9092'], bootstrapAfterMs: 5_000 }))
    sim.network.setName('kafka', ['broker-1'])
    await sim.run(other.refresh())
    for (const id of [1, 2, 3]) {
      sim.broker(id).stop()
      sim.start(id, { host: `moved-${id}`, port: 9092 })
    }
    sim.network.setName('kafka', ['moved-2'])
    const start = sim.clock.now()
    await sim.run(other.waitFor('the new address', () => other.metadata.nodes.get(1)?.host === 'moved-1' || undefined))
    expect(sim.clock.now() - start).toBeLessThan(7_000)
    // The bootstrap addresses of this client are dead, and so are all that it knows.
    const lost = await sim.run(failure(cluster.refresh()))
    expect(lost.code).toBe('CLUSTER_UNREACHABLE')
    other.close()
    await expectNothingLeft(sim, cluster)
  })

  it('are followed one by one without their bootstrap address', async () => {
    const { sim, cluster } = await withTopic({}, { brokers: ['broker-1:9092'] })
    for (const id of [1, 2, 3]) {
      sim.kill(id)
      sim.start(id, { host: `moved-${id}`, port: 9092 })
      await sim.run(cluster.waitFor('it', () => cluster.metadata.nodes.get(id)?.host === `moved-${id}` || undefined))
      await sim.run(cluster.send(id, 'Produce', produceBody(sim, id - 1)))
    }
    await expectNothingLeft(sim, cluster)
  })

  it('end what is under way to the old address, for others to repeat', async () => {
    const { sim, cluster } = await withTopic()
    sim.script.on('Produce', 1, { do: 'drop' })
    const pending = failure(cluster.send(1, 'Produce', produceBody(sim, 0)))
    await sim.advance(100)
    sim.start(1, { host: 'moved', port: 1 })
    cluster.wantRefresh()
    const error = await sim.run(pending, 5_000)
    expect(error).toMatchObject({ code: 'BROKER_UNKNOWN', action: 'refresh', outcome: 'unknown' })
    expect(error.message).toBe('broker 1 (broker-1:9092) is at moved:1 now')
    await expectNothingLeft(sim, cluster)
  })

  it('by one of another cluster are not believed', async () => {
    const { sim, cluster } = await withTopic({ brokers: 1 }, { bootstrapAfterMs: 3_600_000 })
    const bytes = (usual: Buffer) => Buffer.from(usual.toString('latin1').replace('simulated', 'elsewhere'), 'latin1')
    sim.script.on('Metadata', 1, { do: 'bytes', bytes })
    const error = await sim.run(failure(cluster.refresh()))
    expect(error.message).toMatch(/broker 1 belongs to cluster elsewhere, not simulated/)
    await expectNothingLeft(sim, cluster)
  })
})

describe('a broker that is frozen', () => {
  it('holds up neither metadata nor coordinators', async () => {
    const { sim, cluster } = await withTopic()
    sim.failoverMs = 1_000_000
    void sim.freeze(1, 600_000)
    const start = sim.clock.now()
    for (let count = 0; count < 10; count++) {
      await sim.run(cluster.refresh())
      await sim.run(cluster.coordinators.find('group', `g${count}`))
    }
    expect(sim.clock.now() - start).toBeLessThan(5_000)
    await expectNothingLeft(sim, cluster)
  })

  it('lets requests to it end when the others give it up, not with their timeout', async () => {
    const { sim, cluster } = await withTopic({}, { requestTimeoutMs: 300_000 })
    await sim.run(cluster.send(1, 'Produce', produceBody(sim, 0)))
    sim.failoverMs = 9_000
    void sim.freeze(1, 600_000)
    const start = sim.clock.now()
    const own = cluster.connections({ purpose: 'fetch' })
    const written = failure(cluster.send(1, 'Produce', produceBody(sim, 0)))
    const waiting = failure(own.send(1, 'Produce', produceBody(sim, 0)))
    expect(await sim.run(written)).toMatchObject({ outcome: 'unknown', action: 'refresh' })
    expect(await sim.run(waiting)).toMatchObject({ outcome: 'not-sent', action: 'refresh' })
    expect(sim.clock.now() - start).toBeLessThan(12_500)
    expect(cluster.metadata.leaderOf('t', 0)?.leader).toBe(2)
    expect(asked(sim, 'Metadata')).toBeLessThan(12)
    await expectNothingLeft(sim, cluster)
  })

  it('is not suspected while a request asks it to wait', async () => {
    const { sim, cluster } = await withTopic()
    const before = asked(sim, 'Metadata')
    sim.script.on('Heartbeat', 1, { do: 'delay', ms: 60_000 })
    await sim.run(cluster.send(1, 'Heartbeat', HEARTBEAT, { waitMs: 60_000 }))
    expect(asked(sim, 'Metadata')).toBe(before)
    await expectNothingLeft(sim, cluster)
  })

  it('answers late and in order when it goes on', async () => {
    const { sim, cluster } = await withTopic()
    void sim.freeze(1, 400)
    const sends = Array.from({ length: 20 }, () => cluster.send(1, 'Produce', produceBody(sim, 0)))
    const offsets = (await sim.run(Promise.all(sends))).map(
      ({ response }) => response.responses[0]?.partitionResponses[0]?.baseOffset,
    )
    expect(offsets).toEqual(Array.from({ length: 20 }, (_, index) => 2 * index))
    await expectNothingLeft(sim, cluster)
  })
})

describe('coordinators', () => {
  it('are asked for once by all who need one, and remembered', async () => {
    const { sim, cluster } = setUp()
    const finds = Array.from({ length: 10 }, () => cluster.coordinators.find('group', 'g'))
    const found = await sim.run(Promise.all(finds))
    expect(new Set(found)).toEqual(new Set([sim.coordinators.find('group', 'g')]))
    await sim.run(cluster.coordinators.find('group', 'g'))
    expect(asked(sim, 'FindCoordinator')).toBe(1)
    await expectNothingLeft(sim, cluster)
  })

  it.each([3, 6])('are found with version %i', async (version) => {
    const { sim, cluster } = setUp({ maxVersions: { FindCoordinator: version } })
    expect(await sim.run(cluster.coordinators.find('transaction', 'x'))).toBe(sim.coordinators.find('transaction', 'x'))
    expect(sim.requests.find(({ api }) => api === 'FindCoordinator')?.version).toBe(version)
    await expectNothingLeft(sim, cluster)
  })

  it('are found again when they have moved, and an old answer does not make the new one forgotten', async () => {
    const { sim, cluster } = setUp()
    const group = cluster.connections({ purpose: 'group' })
    const first = await sim.run(cluster.coordinators.find('group', 'g'))
    const next = first === 1 ? 2 : 1
    sim.coordinators.move('group', 'g', next)
    const { response, nodeId } = await sim.run(cluster.coordinators.send(group, GROUP, 'Heartbeat', HEARTBEAT))
    expect([response.errorCode, nodeId]).toEqual([16, first])
    cluster.coordinators.forget('group', 'g', first)
    expect(await sim.run(cluster.coordinators.find('group', 'g'))).toBe(next)
    cluster.coordinators.forget('group', 'g', first)
    expect(await sim.run(cluster.coordinators.find('group', 'g'))).toBe(next)
    expect(asked(sim, 'FindCoordinator')).toBe(2)
    await expectNothingLeft(sim, cluster)
  })

  it('that die are forgotten with the request that they did not answer', async () => {
    const { sim, cluster } = setUp()
    const group = cluster.connections({ purpose: 'group' })
    const first = await sim.run(cluster.coordinators.find('group', 'g'))
    const beat = async () => {
      const { response } = await cluster.coordinators.send(group, GROUP, 'Heartbeat', HEARTBEAT)
      return response.errorCode
    }
    expect(await sim.run(beat())).toBe(25)
    sim.kill(first)
    const start = sim.clock.now()
    expect(await sim.run(cluster.retry('a heartbeat', beat))).toBe(25)
    expect(sim.clock.now() - start).toBeLessThan(5_000)
    expect(await sim.run(cluster.coordinators.find('group', 'g'))).not.toBe(first)
    await expectNothingLeft(sim, cluster)
  })

  it('that are not available yet are a passing error', async () => {
    const { sim, cluster } = setUp()
    sim.script.on('FindCoordinator', 1, { do: 'error', code: 15 })
    expect(await sim.run(failure(cluster.coordinators.find('group', 'g')))).toMatchObject({
      code: 'COORDINATOR_NOT_AVAILABLE',
    })
    await sim.run(cluster.coordinators.find('group', 'g'))
    await expectNothingLeft(sim, cluster)
  })
})

describe('connections', () => {
  it('keep the order of the calls while they are opened', async () => {
    const { sim, cluster } = await withTopic()
    const own = cluster.connections({ purpose: 'data', maxInFlight: 2 })
    const sends = Array.from({ length: 10 }, (_, index) =>
      own.send(2, 'Heartbeat', { ...HEARTBEAT, generationId: index }),
    )
    await sim.run(Promise.all(sends))
    const seen = sim.requests
      .filter(({ api }) => api === 'Heartbeat')
      .map(({ body }) => (body as { generationId: number }).generationId)
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    await expectNothingLeft(sim, cluster)
  })

  it('of different sets do not wait for each other', async () => {
    const { sim, cluster } = await withTopic()
    const [one, two] = ['a', 'b'].map((purpose) => cluster.connections({ purpose }))
    sim.script.on('Heartbeat', 1, { do: 'delay', ms: 20_000 })
    const slow = one?.send(1, 'Heartbeat', HEARTBEAT)
    await sim.advance(50)
    const start = sim.clock.now()
    await sim.run(two?.send(1, 'Heartbeat', HEARTBEAT) ?? Promise.reject(new Error('no set')))
    expect(sim.clock.now() - start).toBeLessThan(100)
    await sim.run(slow ?? Promise.reject(new Error('no set')))
    await expectNothingLeft(sim, cluster)
  })

  it('end when they are idle, and are opened again when they are needed', async () => {
    const events: ConnectionEvent[] = []
    const hooks = { onConnection: (event: ConnectionEvent) => events.push(event) }
    const { sim, cluster } = await withTopic({}, { maxIdleMs: 60_000, metadataMaxAgeMs: 1e9, hooks })
    await sim.advance(130_000)
    expect(sim.network.open).toBe(0)
    await sim.run(cluster.send(1, 'Produce', produceBody(sim, 0)))
    expect(sim.network.open).toBe(1)
    expect(events.at(-1)).toMatchObject({ type: 'connected', purpose: 'general', broker: { nodeId: 1 } })
    await expectNothingLeft(sim, cluster)
  })

  it('that are used are not idle', async () => {
    const { sim, cluster } = await withTopic({}, { maxIdleMs: 60_000, metadataMaxAgeMs: 1e9 })
    const own = cluster.connections({ purpose: 'group' })
    for (let count = 0; count < 20; count++) {
      await sim.run(own.send(1, 'Heartbeat', HEARTBEAT))
      await sim.advance(20_000)
    }
    expect(sim.network.dialled.filter((address) => address === 'broker-1:9092').length).toBeLessThanOrEqual(3)
    await expectNothingLeft(sim, cluster)
  })

  it('to a broker that refuses are tried with growing pauses, however often they are asked for', async () => {
    const { sim, cluster } = await withTopic()
    sim.failoverMs = 1e9
    sim.kill(3)
    const before = sim.network.dialled.length
    const end = sim.clock.now() + 60_000
    let failures = 0
    while (sim.clock.now() < end) {
      const error = await sim.run(failure(cluster.send(3, 'Produce', produceBody(sim, 2))))
      expect(error.outcome).toBe('not-sent')
      failures++
    }
    // 60 at most one second apart, and those of the metadata's own connections.
    expect(failures).toBeGreaterThan(40)
    expect(sim.network.dialled.length - before).toBeLessThan(160)
    await expectNothingLeft(sim, cluster)
  })

  it('that end as soon as they are open are not opened again at once', async () => {
    const { sim, cluster } = await withTopic()
    sim.script.on('Heartbeat', 1, { do: 'close' }, { times: 1e9 })
    const own = cluster.connections({ purpose: 'group' })
    const before = sim.network.dialled.length
    const end = sim.clock.now() + 60_000
    while (sim.clock.now() < end) await sim.run(failure(own.send(2, 'Heartbeat', HEARTBEAT)))
    expect(sim.network.dialled.length - before).toBeLessThan(120)
    await expectNothingLeft(sim, cluster)
  })

  it('give up a request that can not be written in time as not sent', async () => {
    const { sim, cluster } = await withTopic()
    sim.network.blackHole('broker-2', 9092)
    sim.broker(2).stop()
    const own = cluster.connections({ purpose: 'data' })
    const start = sim.clock.now()
    const error = await sim.run(failure(own.send(2, 'Produce', produceBody(sim, 1), { writeWithinMs: 700 })))
    expect(error).toMatchObject({ code: 'REQUEST_TIMEOUT', outcome: 'not-sent' })
    expect(sim.clock.now() - start).toBeLessThan(701)
    await expectNothingLeft(sim, cluster)
  })

  it('that the client ends settle what was written as unknown at once', async () => {
    const { sim, cluster } = await withTopic()
    const own = cluster.connections({ purpose: 'data', maxInFlight: 1 })
    sim.script.on('Produce', 1, { do: 'drop' })
    const outcomes: (string | undefined)[] = []
    for (let count = 0; count < 2; count++) {
      own.request(1, {
        name: 'Produce',
        body: produceBody(sim, 0),
        done: (error) => outcomes.push(error?.outcome),
      })
    }
    await sim.advance(100)
    own.disconnect(1)
    expect(outcomes).toEqual(['unknown', 'not-sent'])
    const { response } = await sim.run(own.send(1, 'Produce', produceBody(sim, 0)))
    expect(response.responses[0]?.partitionResponses[0]?.errorCode).toBe(0)
    await expectNothingLeft(sim, cluster)
  })

  it('to a broker that nobody knows fail at once', async () => {
    const { sim, cluster } = await withTopic()
    const error = await sim.run(failure(cluster.send(9, 'ListGroups', LIST)))
    expect(error).toMatchObject({ code: 'BROKER_UNKNOWN', action: 'refresh', outcome: 'not-sent' })
    await expectNothingLeft(sim, cluster)
  })
})

describe('throttling', () => {
  it('keeps one connection silent for as long as its broker says, and is reported', async () => {
    const throttles: ThrottleEvent[] = []
    const { sim, cluster } = await withTopic({}, { hooks: { onThrottle: (event) => throttles.push(event) } })
    const own = cluster.connections({ purpose: 'data' })
    sim.script.on('Produce', 1, { do: 'throttle', ms: 5_000 })
    await sim.run(own.send(1, 'Produce', produceBody(sim, 0)))
    const start = sim.clock.now()
    const throttled = own.send(1, 'Produce', produceBody(sim, 0))
    await sim.run(own.send(2, 'Produce', produceBody(sim, 1)))
    expect(sim.clock.now() - start).toBeLessThan(100)
    await sim.run(throttled)
    expect(sim.clock.now() - start).toBeGreaterThan(4_900)
    expect(throttles).toMatchObject([{ broker: { nodeId: 1 }, purpose: 'data', api: 'Produce', ms: 5_000 }])
    await expectNothingLeft(sim, cluster)
  })
})

describe('credentials', () => {
  const users = new Map([['alice', 'right']])
  const sasl = (password: string | (() => string)) =>
    ({
      mechanism: 'plain',
      credentials: () => ({ username: 'alice', password: typeof password === 'string' ? password : password() }),
    }) as const

  it('that end every 5 s under load lose no request', async () => {
    const { sim, cluster } = await withTopic({ security: { users, sessionMs: 5_000 } }, { sasl: sasl('right') })
    const own = cluster.connections({ purpose: 'data' })
    const dialled = sim.network.dialled.length
    let longest = 0
    for (const end = sim.clock.now() + 60_000; sim.clock.now() < end;) {
      const start = sim.clock.now()
      await sim.run(Promise.all([0, 1, 2].map((index) => own.send(index + 1, 'Produce', produceBody(sim, index)))))
      longest = Math.max(longest, sim.clock.now() - start)
      await sim.advance(100)
    }
    expect(longest).toBeLessThan(500)
    expect(sim.network.dialled.length - dialled).toBe(3)
    expect(asked(sim, 'SaslAuthenticate')).toBeGreaterThan(3 * 12)
    await expectNothingLeft(sim, cluster)
  })

  it('that are refused end a wait with an error that says so, and are asked for again later', async () => {
    let password = 'wrong'
    const { sim, cluster } = setUp({ security: { users } }, { sasl: sasl(() => password) })
    sim.createTopic('t')
    cluster.track().add('t')
    const error = await sim.run(failure(cluster.topic('t')))
    expect(error).toMatchObject({ code: 'AUTHENTICATION_FAILED', action: 'fatal' })
    expect(error.message).toMatch(/wrong password/)
    password = 'right'
    await sim.run(cluster.topic('t'))
    await expectNothingLeft(sim, cluster)
  })
})

describe('hooks', () => {
  it('see connections and requests, and may throw', async () => {
    const requests: RequestEvent[] = []
    const hooks = {
      onRequest: (event: RequestEvent) => {
        requests.push(event)
        throw new Error('a hook')
      },
      onConnection: () => {
        throw new Error('a hook')
      },
    }
    const { sim, cluster } = await withTopic({}, { hooks })
    await sim.run(cluster.send(1, 'Produce', produceBody(sim, 0)))
    sim.script.on('Produce', 1, { do: 'close' })
    await sim.run(failure(cluster.send(1, 'Produce', produceBody(sim, 0))))
    const ofProduce = requests.filter(({ api }) => api === 'Produce')
    expect(ofProduce).toMatchObject([
      { broker: { nodeId: 1, host: 'broker-1' }, purpose: 'general', version: 13, error: undefined },
      { version: 13, error: { outcome: 'unknown' } },
    ])
    expect(ofProduce[0]?.durationMs).toBeGreaterThan(0)
    await expectNothingLeft(sim, cluster)
  })
})

describe('hostile brokers', () => {
  it('can end their connections, and nothing else', async () => {
    const { sim, cluster } = await withTopic()
    const own = cluster.connections({ purpose: 'data' })
    const damage: ((usual: Buffer) => Buffer)[] = [
      () => Buffer.from('7fffffff00000000', 'hex'),
      () => Buffer.from('ffffffff', 'hex'),
      () => Buffer.from('00000000', 'hex'),
      (usual) => Buffer.concat([usual, usual]),
      (usual) => usual.subarray(0, usual.length - 3),
      () => Buffer.from(Array.from({ length: 300 }, () => sim.random.below(256))),
    ]
    for (let round = 0; round < 200; round++) {
      const bytes =
        damage[round] ??
        ((usual: Buffer) => {
          const changed = Buffer.from(usual)
          const at = sim.random.below(changed.length)
          changed[at] = sim.random.below(256)
          return changed
        })
      sim.script.on('Produce', 1, { do: 'bytes', bytes })
      const outcome = await sim.run(
        own.send(1, 'Produce', produceBody(sim, 0)).then(
          () => 'answered',
          (error: unknown) => (error as KafkaError).outcome,
        ),
        120_000,
      )
      expect(['answered', 'unknown', 'not-sent']).toContain(outcome)
    }
    sim.script.clear()
    await sim.run(cluster.retry('a produce request', () => own.send(1, 'Produce', produceBody(sim, 0))))
    await expectNothingLeft(sim, cluster)
  })

  it('can not make a client of one that lies about versions and metadata', async () => {
    const { sim, cluster } = setUp()
    for (const api of ['ApiVersions', 'Metadata'] as const) {
      for (let round = 0; round < 100; round++) {
        sim.script.clear()
        sim.script.on(api, 1, {
          do: 'bytes',
          bytes: (usual) => {
            const changed = Buffer.from(usual)
            for (let count = 0; count < 3; count++)
              changed[8 + sim.random.below(changed.length - 8)] = sim.random.below(256)
            return changed
          },
        })
        await sim.run(
          cluster.refresh().catch(() => {}),
          120_000,
        )
      }
    }
    sim.script.clear()
    sim.createTopic('t')
    cluster.track().add('t')
    await sim.run(cluster.topic('t'), 120_000)
    await expectNothingLeft(sim, cluster)
  })
})
