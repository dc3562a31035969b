import type { Cluster } from '../../src/kafka/cluster/cluster.ts'
import type { Codec } from '../../src/kafka/records/batch-format.ts'
import { readRecords } from '../../src/kafka/records/read-records.ts'
import { scanBatches } from '../../src/kafka/records/record-batch.ts'

/** Answers to fetches from the start of a partition to its end. */
async function* fetchAll(cluster: Cluster, topic: string, isolationLevel: number, partition: number) {
  const tracked = cluster.track()
  tracked.add(topic)
  const { id: topicId } = await cluster.topic(topic)
  const { leader } = await cluster.leader(topic, partition)
  for (let fetchOffset = 0; ;) {
    const partitions = [{ partition, fetchOffset, partitionMaxBytes: 1 << 24 }]
    const { response } = await cluster.send(leader, 'Fetch', {
      maxWaitMs: 10,
      minBytes: 1,
      isolationLevel,
      topics: [{ topic, topicId, partitions }],
    })
    const [answer] = response.responses[0]?.partitions ?? []
    const batches = scanBatches(answer?.records ?? Buffer.alloc(0))
    if (answer?.errorCode !== 0 || batches.length === 0) break
    yield { batches, abortedTransactions: answer.abortedTransactions ?? [] }
    fetchOffset = (batches.at(-1)?.lastOffset ?? 0) + 1
  }
  tracked.release()
}

/** The values that a client of this kind sees, from the start of a partition to its end. */
export async function readValues(
  cluster: Cluster,
  topic: string,
  isolationLevel: number,
  partition = 0,
): Promise<string[]> {
  const values: string[] = []
  for await (const { batches, abortedTransactions } of fetchAll(cluster, topic, isolationLevel, partition)) {
    const aborted = new Set<bigint>()
    const pending = [...abortedTransactions]
    for (const batch of batches) {
      for (const transaction of pending.splice(0)) {
        if (transaction.firstOffset <= batch.lastOffset) aborted.add(transaction.producerId)
        else pending.push(transaction)
      }
      if (batch.isControl) aborted.delete(batch.producerId)
      else if (!batch.isTransactional || !aborted.has(batch.producerId)) {
        for (const record of await readRecords(batch)) values.push(record.valueText ?? '')
      }
    }
  }
  return values
}

/** How the batches of the first partition are compressed, in the order in which that first occurs. */
export async function storedCodecs(cluster: Cluster, topic: string): Promise<Codec[]> {
  const codecs = new Set<Codec>()
  for await (const { batches } of fetchAll(cluster, topic, 0, 0)) for (const { codec } of batches) codecs.add(codec)
  return [...codecs]
}
