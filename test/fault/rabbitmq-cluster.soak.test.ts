import { test } from 'vitest'
import { rabbitmq } from '../../src/transports/rabbitmq/index.ts'
import { BrokerError, startPrivate } from '../../tools/brokers/index.ts'
import type { BrokerNode, RabbitMqBroker, RabbitMqVersion } from '../../tools/brokers/index.ts'
import { unlessMissing } from '../integration/broker-helpers.ts'
import { clusterSuite } from './cluster-suite.ts'

interface QueueRow {
  readonly name: string
  readonly type: string
  /** Of a quorum queue: the node that leads it, those that have a copy, and those of them that live. */
  readonly leader?: string
  readonly members?: readonly string[]
  readonly online?: readonly string[]
}

async function queues({ nodes }: RabbitMqBroker): Promise<readonly QueueRow[]> {
  const columns = ['name', 'type', 'leader', 'members', 'online']
  return JSON.parse(
    (await nodes[0]?.ctl('--silent', 'list_queues', '--formatter', 'json', ...columns)) ?? '[]',
  ) as readonly QueueRow[]
}

for (const version of ['debian', '4'] satisfies readonly RabbitMqVersion[]) {
  // Asked for first, so that a machine that can't have it skips the tests and says why.
  const single = await unlessMissing(startPrivate('rabbitmq', { version }))
  if (single instanceof BrokerError) {
    test.skip(single.message)
    continue
  }
  await single.stop()
  clusterSuite<RabbitMqBroker>({
    name: version === '4' ? 'rabbitmq-4-cluster' : 'rabbitmq-cluster',
    start: () => startPrivate('rabbitmq', { version, nodes: 3 }),
    nodes: ({ nodes }) => nodes,
    create: (nodes) => rabbitmq({ url: nodes.map(({ url }) => url) }),
    async leader(cluster, topic) {
      const rows = (await queues(cluster)).filter(({ name, type }) => type === 'quorum' && name.includes(topic))
      const led = ({ port }: BrokerNode): number =>
        rows.filter(({ leader }) => leader === `busbar-${port}@localhost`).length
      const [most] = cluster.nodes.toSorted((a, b) => led(b) - led(a))
      if (most === undefined || led(most) === 0) throw new Error(`no leader among ${JSON.stringify(rows)}`)
      return most
    },
    caughtUp: async (cluster) =>
      (await queues(cluster)).every(
        ({ type, members, online }) => type !== 'quorum' || members?.length === online?.length,
      ),
  })
}
