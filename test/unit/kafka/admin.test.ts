import { describe, expect, it } from 'vitest'
import { createClient } from '../../../src/kafka/index.ts'
import type { KafkaClient } from '../../../src/kafka/index.ts'
import { SimCluster } from './sim/sim-cluster.ts'

function setUp(): { readonly sim: SimCluster; readonly kafka: KafkaClient } {
  const sim = new SimCluster()
  sim.createTopic('t', 2)
  return { sim, kafka: createClient(sim.clientOptions()) }
}

describe('an admin call that the cluster refuses', () => {
  it('has certainly not been carried out when the topic does not exist', async () => {
    const { sim, kafka } = setUp()
    const error = await sim.run(
      kafka
        .admin()
        .topics.delete(['none'])
        .catch((reason: unknown) => reason),
    )
    expect(error).toMatchObject({
      message:
        'delete topic none failed with UNKNOWN_TOPIC_OR_PARTITION (3): the cluster has no such topic or partition',
      action: 'fatal',
      outcome: 'rejected',
    })
    const some = await sim.run(
      kafka
        .admin()
        .topics.delete(['t', 'none'])
        .catch((reason: unknown) => reason),
    )
    expect(some).toMatchObject({ name: 'PartialFailureError', outcome: 'rejected' })
    await sim.run(kafka.close())
  })

  it.each(['classic', 'consumer'] as const)('says that a %s group has members', async (protocol) => {
    const { sim, kafka } = setUp()
    const consumer = kafka.consumer({ topics: ['t'], group: 'g', protocol })
    const running = consumer.run({ handler: () => {} })
    await sim.advance(10_000)
    expect(consumer.assignment).toHaveLength(2)
    const { offsets } = kafka.admin()
    const refused = {
      message: 'alter offsets of group g failed: the group has members; stop them first (the broker answered 25)',
      name: 'KafkaError',
      code: 'NON_EMPTY_GROUP',
      outcome: 'rejected',
    }
    const reset = () => offsets.reset('g', ['t'], 'earliest').catch((reason: unknown) => reason)
    expect(await sim.run(reset())).toMatchObject(refused)
    await sim.run(consumer.close())
    await sim.run(running)
    expect(await sim.run(reset())).toBeUndefined()
    await sim.run(kafka.close())
  })
})
