import { expect, it } from 'vitest'
import type { Cluster } from '../../../src/kafka/cluster/cluster.ts'
import { errorFromBroker } from '../../../src/kafka/errors.ts'
import type { KafkaError } from '../../../src/kafka/errors.ts'
import { expectNothingLeft, produceBody, withTopic } from './cluster-helpers.ts'
import { seedsOf } from './schedules.ts'
import type { Fault } from './sim/script.ts'
import type { SimCluster } from './sim/sim-cluster.ts'

const SEEDS = [...seedsOf('cluster')]
const REQUEST_TIMEOUT_MS = 5_000
/** Virtual time in which things go wrong. */
const TROUBLE_MS = 20_000
const LIMIT_MS = 10_000

/** Something bad, which is over when the trouble is. */
function trouble(sim: SimCluster): void {
  const { random, clock } = sim
  const id = 1 + random.below(3)
  const ms = Math.round(random.between(100, 5_000))
  const faults: Fault[] = [
    { do: 'drop' },
    { do: 'dropAnswer' },
    { do: 'close' },
    { do: 'closeAfter' },
    { do: 'delay', ms },
    { do: 'delayAnswer', ms },
    { do: 'split' },
    { do: 'freeze', ms },
    { do: 'throttle', ms },
    { do: 'error', code: 6 },
    { do: 'bytes', bytes: (usual) => usual.subarray(random.below(usual.length)) },
  ]
  const acts: (() => void)[] = [
    () => sim.script.on(random.pick(['Produce', 'Metadata', 'ApiVersions', 'FindCoordinator']), 1, random.pick(faults)),
    () => {
      if (!sim.broker(id).isUp) return
      sim.kill(id)
      clock.setTimer(() => sim.start(id, random.chance(0.3) ? { host: `host-${random.below(1e6)}` } : {}), ms)
    },
    () => void (sim.broker(id).isUp && !sim.broker(id).isFrozen && sim.freeze(id, ms)),
    () => sim.moveLeader('t', random.below(3), id),
    () => sim.coordinators.move('group', 'g', id),
  ]
  random.pick(acts)()
}

/** One request to the leader, as a producer would do it; when it has settled. */
async function produce(sim: SimCluster, cluster: Cluster, seen: Map<string, number>): Promise<void> {
  const index = sim.random.below(3)
  const leader = cluster.metadata.leaderOf('t', index)?.leader
  if (leader === undefined) return cluster.wantRefresh()
  const before = sim.log('t', index).endOffset
  const start = sim.clock.now()
  let outcome = 'done'
  try {
    const { response } = await cluster.send(leader, 'Produce', produceBody(sim, index))
    if (response.responses[0]?.partitionResponses[0]?.errorCode !== 0) cluster.wantRefresh()
  } catch (error) {
    ;({ outcome } = error as KafkaError)
  }
  // In the queue, and written.
  expect(sim.clock.now() - start).toBeLessThanOrEqual(2 * REQUEST_TIMEOUT_MS + 1)
  seen.set(outcome, (seen.get(outcome) ?? 0) + 1)
  if (outcome === 'done') expect(sim.log('t', index).endOffset).toBeGreaterThanOrEqual(before)
}

it(
  `settles every request, comes back, and leaves nothing behind, whatever brokers do (${SEEDS.length} seeds)`,
  { timeout: 3_600_000 },
  async () => {
    const seen = new Map<string, number>()
    for (const seed of SEEDS) {
      const options = { requestTimeoutMs: REQUEST_TIMEOUT_MS, bootstrapAfterMs: 5_000, brokers: ['kafka:9092'] }
      const { sim, cluster } = await withTopic({ seed }, options)
      const running: Promise<unknown>[] = []
      const dialled = sim.network.dialled.length
      for (const end = sim.clock.now() + TROUBLE_MS; sim.clock.now() < end;) {
        if (sim.random.chance(0.3)) trouble(sim)
        running.push(produce(sim, cluster, seen))
        running.push(
          cluster.coordinators.find('group', 'g').then(
            (id) => cluster.coordinators.forget('group', 'g', id),
            () => {},
          ),
        )
        await sim.advance(sim.random.between(1, 500))
      }
      const elapsed = TROUBLE_MS / 1_000
      // Four addresses, one connection each, at most about one attempt in a pause.
      expect(sim.network.dialled.length - dialled).toBeLessThan(elapsed * 20)
      sim.script.clear()
      await sim.advance(5_000)
      const healthy = sim.clock.now()
      for (let index = 0; index < 3; index++) {
        await sim.run(
          cluster.retry('a produce request', async () => {
            const { leader } = await cluster.leader('t', index)
            const { response } = await cluster.send(leader, 'Produce', produceBody(sim, index))
            if (response.responses[0]?.partitionResponses[0]?.errorCode === 0) return
            throw errorFromBroker(6, 'Produce')
          }),
        )
      }
      expect(sim.clock.now() - healthy).toBeLessThan(LIMIT_MS)
      await sim.run(Promise.all(running))
      await expectNothingLeft(sim, cluster)
    }
    for (const outcome of ['done', 'unknown', 'not-sent']) expect(seen.get(outcome)).toBeGreaterThan(SEEDS.length)
  },
)
