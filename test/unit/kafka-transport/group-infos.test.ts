import { expect, it } from 'vitest'
import { createClient } from '../../../src/kafka/index.ts'
import type { Admin } from '../../../src/kafka/index.ts'
import { groupInfos } from '../../../src/transports/kafka/admin/group-infos.ts'
import { SimCluster } from '../kafka/sim/sim-cluster.ts'

it('a group is seen as it was before a transaction that stays open, without waiting for it', async () => {
  const sim = new SimCluster()
  sim.createTopic('t', 1)
  const client = createClient(sim.clientOptions())
  await sim.run(client.producer().sendMany('t', [{ value: 'a' }, { value: 'b' }, { value: 'c' }]))
  const { offsets: committed, records } = client.admin()
  // The simulated cluster does not describe groups.
  const groups = { describe: () => Promise.resolve({ members: [] }) }
  const admin = { offsets: committed, records, groups } as unknown as Admin
  await sim.run(admin.offsets.alter('g', [{ topic: 't', partition: 0, offset: 1 }]))
  // As after a broker that stopped between the commit of a transaction and telling the group.
  sim.transactions.completionMs = 600_000
  const group = { groupId: 'g', generationId: -1, memberId: '' }
  const offsets = [{ topic: 't', partition: 0, offset: 2 }]
  await sim.run(client.producer({ transactionalId: true }).transaction((tx) => tx.offsets(group, offsets)))
  const start = sim.clock.now()
  const infos = await sim.run(groupInfos(admin, { groupIds: ['g'], topics: ['t'] }, (groupId) => groupId))
  expect(infos).toMatchObject([{ topic: 't', group: 'g', lag: 2 }])
  expect(sim.clock.now() - start).toBeLessThan(1_000)
  await sim.run(client.close())
})
