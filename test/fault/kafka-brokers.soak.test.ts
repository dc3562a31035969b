import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { TestContext } from 'vitest'
import { nodeSockets } from '../../src/kafka/network/sockets.ts'
import type { OpenSocket } from '../../src/kafka/network/sockets.ts'
import { tcpProxy } from '../../src/testing/tcp-proxy.ts'
import type { TcpProxy } from '../../src/testing/tcp-proxy.ts'
import type { BrokerNode, KafkaBroker } from '../../tools/brokers/index.ts'
import { addressesOf, useKafka } from '../integration/kafka-broker.ts'
import { flowRow, recordKafkaFault } from './kafka-fault-report.ts'
import { KafkaFlow } from './kafka-flow.ts'
import type { FlowReport } from './kafka-flow-report.ts'
import { controllerOf, lagByTool, nodeOf, untilServing } from './kafka-nodes.ts'

const OFFSETS = '__consumer_offsets'
/** What is allowed once the cluster is healthy (K10). */
const STALL_LIMIT_MS = 10_000
const RIGHT = { failed: 0, lost: 0, doubled: 0, untrue: 0, unhandled: 0, reordered: 0 }

const kafka = useKafka({ nodes: 3 })

interface Stage {
  readonly broker: KafkaBroker
  readonly flow: KafkaFlow
  /** To each node, in the order of the ids: only clients go through them. */
  readonly links: readonly TcpProxy[]
  /** Until these nodes serve everything; then the flow runs for a while. */
  readonly settle: (nodes: readonly BrokerNode[], inSync?: number) => Promise<void>
}

const others = ({ nodes }: KafkaBroker, node: BrokerNode): readonly BrokerNode[] =>
  nodes.filter((each) => each !== node)

async function killed({ broker, flow, settle }: Stage, node: BrokerNode): Promise<void> {
  flow.trouble()
  await node.kill()
  await settle(others(broker, node))
  flow.trouble()
  await node.restart()
  await settle(broker.nodes, 3)
}

/** Kills nodes, which come back at other ports. */
async function moveTo(broker: KafkaBroker, moves: readonly (readonly [BrokerNode, number])[]): Promise<void> {
  await Promise.all(moves.map(([node]) => node.kill()))
  for (const [node, port] of moves) {
    const file = join(broker.dataDir, `node-${node.id}`, 'server.properties')
    const text = await readFile(file, 'utf8')
    await writeFile(file, text.replaceAll(/\bPLAINTEXT:\/\/127\.0\.0\.1:\d+/g, `PLAINTEXT://127.0.0.1:${port}`))
  }
  await Promise.all(moves.map(([node]) => node.restart()))
}

const FAULTS: Readonly<Record<string, (stage: Stage) => Promise<void>>> = {
  'the leader of a partition is killed': async (stage) => {
    const { leader } = await stage.flow.cluster.leader(stage.flow.topic, 0)
    await killed(stage, nodeOf(stage.broker, leader))
  },
  "the group's coordinator is killed": async (stage) => {
    const { flow, broker } = stage
    flow.cluster.coordinators.forget('group', flow.group)
    await killed(stage, nodeOf(broker, await flow.cluster.coordinators.find('group', flow.group)))
  },
  'the controller is killed': async (stage) => {
    await killed(stage, await controllerOf(stage.broker, stage.flow.cluster))
  },
  'all brokers are restarted one after the other': async ({ broker, flow, settle }) => {
    for (const node of broker.nodes) {
      flow.trouble()
      await node.halt()
      await node.restart()
      await settle(broker.nodes, 3)
    }
  },
  'a broker is frozen for 20 s': async ({ broker, flow, settle }) => {
    const { leader } = await flow.cluster.leader(flow.topic, 0)
    const node = nodeOf(broker, leader)
    flow.trouble()
    await node.pause()
    const thawed = delay(20_000).then(() => node.resume())
    try {
      await settle(others(broker, node))
    } finally {
      await thawed
    }
    flow.trouble()
    await settle(broker.nodes, 3)
  },
  'all brokers are down for 30 s': async ({ broker, flow, settle }) => {
    flow.trouble()
    await Promise.all(broker.nodes.map((node) => node.kill()))
    await delay(30_000)
    await Promise.all(broker.nodes.map((node) => node.restart()))
    await settle(broker.nodes, 3)
  },
  'two brokers come back at the address of the other': async ({ broker, flow, settle }) => {
    const [first, second] = broker.nodes as [BrokerNode, BrokerNode]
    flow.trouble()
    await moveTo(broker, [
      [first, second.port],
      [second, first.port],
    ])
    await settle(broker.nodes, 3)
    flow.trouble()
    await moveTo(broker, [
      [first, first.port],
      [second, second.port],
    ])
    await settle(broker.nodes, 3)
  },
  'one link swallows everything for 20 s': async ({ broker, flow, links, settle }) => {
    const { leader } = await flow.cluster.leader(flow.topic, 0)
    const link = links[leader - 1]
    flow.trouble()
    link?.blackhole()
    await delay(20_000)
    link?.resume()
    await settle(broker.nodes, 3)
  },
  'one link is slow': async ({ broker, flow, links, settle }) => {
    const { leader } = await flow.cluster.leader(flow.topic, 0)
    const link = links[leader - 1]
    link?.slow({ delayMs: 200, jitterMs: 300 })
    await settle(broker.nodes, 3)
    link?.resume()
    await settle(broker.nodes, 3)
  },
}

/** A fault that failed halfway leaves nodes behind that are down: the next one is not to fail for it. */
async function repair({ nodes }: KafkaBroker): Promise<void> {
  for (const node of nodes) if (!(await node.healthy())) await node.restart()
}

/** Sockets of clients, through the proxies. */
function through(broker: KafkaBroker, links: readonly TcpProxy[]): OpenSocket {
  const open = nodeSockets()
  return (address, handlers) => {
    const at = broker.nodes.findIndex(({ port }) => port === address.port)
    return open({ ...address, port: links[at]?.port ?? address.port }, handlers)
  }
}

async function underFault(context: TestContext, name: string, protocol: 'classic' | 'consumer'): Promise<FlowReport> {
  const broker = kafka.of(context)
  await repair(broker)
  const links = await Promise.all(broker.nodes.map(({ port }) => tcpProxy({ port })))
  const topic = `${protocol}-${Object.keys(FAULTS).indexOf(name)}`
  const openSocket = through(broker, links)
  const flow = new KafkaFlow({ topic, client: { brokers: addressesOf(broker), openSocket }, consumer: { protocol } })
  const settle: Stage['settle'] = async (nodes, inSync) => {
    await untilServing(nodes, [topic, OFFSETS], inSync === undefined ? {} : { inSync })
    flow.healthy()
    await delay(STALL_LIMIT_MS)
    await flow.progress(1_000, 30_000)
  }
  try {
    await flow.createTopic()
    await flow.start(2)
    await FAULTS[name]?.({ broker, flow, links, settle })
    const report = await flow.finish()
    expect(await lagByTool(broker, flow.group)).toEqual(Array.from({ length: flow.partitions }, () => 0))
    return report
  } finally {
    await flow.abandon()
    await Promise.all(links.map((link) => link.close()))
  }
}

describe.each(['classic', 'consumer'] as const)('a producer and a %s group lose and reorder nothing', (protocol) => {
  test.for(Object.keys(FAULTS))('while %s', { timeout: 600_000 }, async (name, context) => {
    const report = await underFault(context, name, protocol)
    console.log(`${protocol}, ${name}: ${JSON.stringify(report)}`)
    recordKafkaFault(kafka.of(context).version, flowRow(name, protocol, report))
    expect(report).toMatchObject(RIGHT)
    expect(report.produceStallMs).toBeLessThan(STALL_LIMIT_MS)
    expect(report.consumeStallMs).toBeLessThan(STALL_LIMIT_MS)
  })
})

/** Takes connections, and never says anything. */
async function blackHole(): Promise<{ readonly address: string; readonly close: () => void }> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => void sockets.add(socket.on('error', () => {})))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const close = (): void => {
    for (const socket of sockets) socket.destroy()
    server.close()
  }
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, close }
}

test(
  'a client whose bootstrap hosts are dead, silent, or die later, goes on',
  { timeout: 300_000 },
  async (context) => {
    const broker = kafka.of(context)
    const [first] = broker.nodes as [BrokerNode]
    const hole = await blackHole()
    const brokers = ['127.0.0.1:1', hole.address, `${first.host}:${first.port}`]
    const flow = new KafkaFlow({ topic: 'bootstrap', client: { brokers } })
    try {
      const start = performance.now()
      await flow.createTopic()
      await flow.start(1)
      expect(performance.now() - start).toBeLessThan(20_000)
      flow.trouble()
      await first.kill()
      await untilServing(others(broker, first), [flow.topic, OFFSETS])
      flow.healthy()
      // Longer than it takes to ask the bootstrap addresses again.
      await delay(35_000)
      const report = await flow.finish()
      console.log(`bootstrap hosts: ${JSON.stringify(report)}`)
      recordKafkaFault(broker.version, flowRow('bootstrap hosts are dead or silent, then die', 'classic', report))
      expect(report).toMatchObject(RIGHT)
      expect(Math.max(report.produceStallMs, report.consumeStallMs)).toBeLessThan(STALL_LIMIT_MS)
    } finally {
      await flow.abandon()
      hole.close()
      await first.restart()
      await untilServing(broker.nodes, [OFFSETS], { inSync: 3 })
    }
  },
)
