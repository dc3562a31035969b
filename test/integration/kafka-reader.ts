import type { Cluster } from '../../src/kafka/cluster/cluster.ts'
import { readRecords } from '../../src/kafka/records/read-records.ts'
import { scanBatches } from '../../src/kafka/records/record-batch.ts'

/** The values that a client of this kind sees, from the start of a partition to its end. */
export async function readValues(
  cluster: Cluster,
  topic: string,
  isolationLevel: number,
  partition = 0,
): Promise<string[]> {
  const tracked = cluster.track()
  tracked.add(topic)
  const { id: topicId } = await cluster.topic(topic)
  const { leader } = await cluster.leader(topic, partition)
  const values: string[] = []
  for (let fetchOffset = 0; ;) {
    const partitions = [{ partition, fetchOffset, partitionMaxBytes: 1 << 24 }]
    const { response } = await cluster.send(leader, 'Fetch', {
      maxWaitMs: 10,
      minBytes: 1,
      isolationLevel,
      topics: [{ topicId, partitions }],
    })
    const [answer] = response.responses[0]?.partitions ?? []
    const aborted = new Set<number>()
    const pending = [...(answer?.abortedTransactions ?? [])]
    const batches = scanBatches(answer?.records ?? Buffer.alloc(0))
    if (answer?.errorCode !== 0 || batches.length === 0) break
    for (const batch of batches) {
      fetchOffset = batch.lastOffset + 1
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
  tracked.release()
  return values
}
