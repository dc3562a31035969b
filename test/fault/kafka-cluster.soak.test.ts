// A soak: every node of three dies twice, and some are restarted or frozen.
import assert from 'node:assert/strict'
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest'
import type { Transport } from 'busbar'
import { kafka } from 'busbar/kafka'
import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { BrokerNode, KafkaBroker } from '../../tools/brokers/index.ts'
import { QUICK_PROPERTIES } from '../conformance/kafka-suite.ts'
import { addressesOf } from '../integration/kafka-broker.ts'
import { clusterSuite } from './cluster-suite.ts'
import { recordFault, toRow } from './fault-report.ts'
import { Flow, pause, PREFETCH } from './flow.ts'
import { controllerOf, coordinatorOf, ledBy, nodeOf, notInSync, untilInSync } from './kafka-nodes.ts'

const NAME = 'kafka-cluster'
const OFFSETS = '__consumer_offsets'
const MEMBERS = 2
const GOES_ON_WITHIN_MS = 15_000

const start = (): Promise<KafkaBroker> => startPrivate('kafka', { nodes: 3, properties: QUICK_PROPERTIES })

/** Long enough for a group to find its next coordinator. */
const create = (nodes: readonly Pick<BrokerNode, 'host' | 'port'>[]): Transport =>
  kafka({
    brokers: nodes.map(({ host, port }) => `${host}:${port}`),
    partitions: 6,
    sessionTimeoutMs: 15_000,
    heartbeatMs: 500,
    requestTimeoutMs: 5_000,
    reconnect: { minMs: 20, maxMs: 200 },
  })

async function asking<Answer>(broker: KafkaBroker, ask: (cluster: Cluster) => Promise<Answer>): Promise<Answer> {
  const cluster = new Cluster({ brokers: addressesOf(broker), clientId: 'test' })
  try {
    return await ask(cluster)
  } finally {
    cluster.close()
  }
}

clusterSuite<KafkaBroker>({
  name: NAME,
  start,
  nodes: ({ nodes }) => nodes,
  create,
  leader: (broker, topic) =>
    asking(broker, async (cluster) => {
      const led = await ledBy(cluster, [topic, OFFSETS])
      const [most = 0] = [...led.keys()].toSorted((a, b) => (led.get(b) ?? 0) - (led.get(a) ?? 0))
      return nodeOf(broker, most)
    }),
  caughtUp: async ({ nodes }) => (await notInSync(nodes)).length === 0,
})

describe('kafka: what a cluster of three is put through', () => {
  let broker: KafkaBroker
  let flow: Flow | undefined

  beforeAll(async () => {
    broker = await start()
  }, 300_000)
  afterEach(async () => {
    await flow?.close()
    flow = undefined
    for (const node of broker.nodes) await (node.pid === undefined ? node.restart() : node.resume())
    await untilInSync(broker.nodes, 120_000)
  }, 300_000)
  afterAll(() => broker.stop())

  async function begin(): Promise<Flow> {
    const member = (): Transport => create(broker.nodes)
    flow = new Flow({ members: Array.from({ length: MEMBERS }, () => member), publisher: member, workMs: 2 })
    return flow.start()
  }

  async function judge(fault: string, running: Flow, explained: number): Promise<void> {
    const outcome = await running.end()
    recordFault(NAME, broker.version, toRow(fault, outcome, explained))
    assert.ok(outcome.repeated <= explained, `${outcome.repeated} were handled again, ${explained} can be explained`)
    if (explained === 0) assert.deepEqual(running.overlaps, [], 'no key may be worked on twice at the same time')
  }

  async function killAndReturn(running: Flow, node: BrokerNode): Promise<void> {
    await node.kill()
    await running.everyKey(5, GOES_ON_WITHIN_MS, `while node ${node.id} is away`)
    await node.restart()
    await untilInSync(broker.nodes)
    await running.everyKey(5, GOES_ON_WITHIN_MS, `with node ${node.id} back`)
  }

  // The members keep their partitions while the group moves to another node: nothing is handled again.
  test('the coordinator of the group is killed', { timeout: 300_000 }, async () => {
    const running = await begin()
    for (let time = 0; time < 3; time++)
      await killAndReturn(running, await asking(broker, (cluster) => coordinatorOf(broker, cluster, running.group)))
    await judge('coordinator of the group killed 3 times', running, 0)
  })

  test('the active controller is killed', { timeout: 300_000 }, async () => {
    const running = await begin()
    for (let time = 0; time < 3; time++)
      await killAndReturn(running, await asking(broker, (cluster) => controllerOf(broker, cluster)))
    await judge('active controller killed 3 times', running, 0)
  })

  test('all nodes are restarted, one after the other', { timeout: 300_000 }, async () => {
    const running = await begin()
    for (const node of broker.nodes) {
      await node.restart()
      await untilInSync(broker.nodes)
    }
    await running.everyKey(5, GOES_ON_WITHIN_MS, 'after the restarts')
    await judge('rolling restart', running, 0)
  })

  test('a node freezes for 10 s: the others take over, and it comes back', { timeout: 300_000 }, async () => {
    const running = await begin()
    for (const node of broker.nodes) {
      await node.pause()
      await pause(10_000)
      await running.everyKey(5, GOES_ON_WITHIN_MS, `while node ${node.id} is frozen`)
      await node.resume()
      await untilInSync(broker.nodes)
      await running.everyKey(5, GOES_ON_WITHIN_MS, `with node ${node.id} back`)
    }
    await judge('each node frozen for 10 s', running, broker.nodes.length * MEMBERS * PREFETCH)
  })
})
