import assert from 'node:assert/strict'
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest'
import type { Transport } from 'busbar'
import { waitUntil } from 'busbar/testing'
import type { Broker, BrokerNode } from '../../tools/brokers/index.ts'
import { recordFault, toRow } from './fault-report.ts'
import { Flow, pause, PREFETCH } from './flow.ts'

/** What the suite has to know of a broker that runs as a cluster. */
export interface ClusterSubject<Cluster extends Broker> {
  readonly name: string
  /** A cluster of three nodes. */
  readonly start: () => Promise<Cluster>
  readonly nodes: (cluster: Cluster) => readonly BrokerNode[]
  /** A transport that knows all nodes and tries them in that order. Everything is kept on three nodes. */
  readonly create: (nodes: readonly BrokerNode[]) => Transport
  /** The node that leads most of what the group needs: the one whose death hurts most. */
  readonly leader: (cluster: Cluster, topic: string) => Promise<BrokerNode>
  /** Every node has caught up: another one may die. */
  readonly caughtUp: (cluster: Cluster) => Promise<boolean>
}

/** How soon each key must go on while a node is away: an election, a reconnect and a take-over. */
const GOES_ON_WITHIN_MS = 15_000
const MEMBERS = 2

/**
 * Every node of a cluster of three dies once, and then the leaders, under a steady flow of keyed messages through a group
 * of two members: each key goes on while the node is away, nothing that was confirmed is missing, no key is out of order.
 */
export function clusterSuite<Cluster extends Broker>(subject: ClusterSubject<Cluster>): void {
  describe(`${subject.name}: nodes of a cluster that die and come back`, () => {
    let cluster: Cluster
    let flow: Flow | undefined

    beforeAll(async () => {
      cluster = await subject.start()
    }, 480_000)
    afterEach(async () => {
      await flow?.close()
      flow = undefined
      // A test that failed may have left a node dead.
      const dead = subject.nodes(cluster).filter((node) => node.pid === undefined)
      await Promise.all(dead.map((node) => node.restart()))
      await whole()
    }, 300_000)
    afterAll(() => cluster.stop())

    async function whole(): Promise<void> {
      const nodes = subject.nodes(cluster)
      const seen = async (): Promise<boolean> => {
        for (const node of nodes) if (!(await node.sees(3))) return false
        return true
      }
      await waitUntil(async () => (await seen()) && subject.caughtUp(cluster), {
        timeoutMs: 120_000,
        intervalMs: 250,
        describe: () => 'the nodes do not see each other, or have not caught up',
      })
    }

    async function dieAndReturn(running: Flow, node: BrokerNode): Promise<void> {
      await running.everyKey(5, GOES_ON_WITHIN_MS, 'before the kill')
      await node.kill()
      // What was on its way may still arrive: it says nothing of how the group goes on without the node.
      await pause(500)
      await running.everyKey(5, GOES_ON_WITHIN_MS, `while node ${node.id} is away`)
      await node.restart()
      await whole()
      await running.everyKey(5, GOES_ON_WITHIN_MS, `with node ${node.id} back`)
    }

    /** Members and publisher know the nodes in the order that `order` gives for each of them. */
    async function run(
      fault: string,
      order: (nodes: readonly BrokerNode[], who: number) => readonly BrokerNode[],
    ): Promise<void> {
      const nodes = subject.nodes(cluster)
      const create = (who: number) => (): Transport => subject.create(order(nodes, who))
      const members = Array.from({ length: MEMBERS }, (_, who) => create(who))
      flow = new Flow({ members, publisher: create(MEMBERS), workMs: 2 })
      const running = await flow.start()
      let kills = 0
      // The first one first: the group was declared there.
      for (const node of nodes) {
        await dieAndReturn(running, node)
        kills++
      }
      await dieAndReturn(running, await subject.leader(cluster, running.topic))
      kills++
      const outcome = await running.end()
      const explained = kills * MEMBERS * PREFETCH
      recordFault(subject.name, cluster.version, toRow(fault, outcome, explained))
      assert.ok(outcome.repeated <= explained, `${outcome.repeated} were handled again, ${explained} can be explained`)
    }

    test('all know the nodes in the same order, and are connected to the first one', { timeout: 600_000 }, () =>
      run('nodes of a cluster killed, all clients on one', (nodes) => nodes),
    )

    test('each begins at another node', { timeout: 600_000 }, () =>
      run('nodes of a cluster killed, clients spread', (nodes, who) => [...nodes.slice(who), ...nodes.slice(0, who)]),
    )
  })
}
