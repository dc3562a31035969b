import { errorFromBroker } from '../errors.ts'
import type { KafkaError } from '../errors.ts'
import { clusterError } from './cluster-errors.ts'
import { UNKNOWN_TOPIC } from './metadata.ts'
import type { TopicState } from './metadata.ts'

/** Why topics, or a partition of them, can't be used, by name; those that can are left out. */
export function topicErrors(topics: Iterable<TopicState>): ReadonlyMap<string, KafkaError> {
  const errors = new Map<string, KafkaError>()
  for (const topic of topics) {
    const error = errorOf(topic)
    if (error !== undefined) errors.set(topic.name, error)
  }
  return errors
}

function errorOf({ name, errorCode, partitions }: TopicState): KafkaError | undefined {
  if (errorCode === UNKNOWN_TOPIC) {
    return clusterError('NOT_FOUND', `the topic ${name} does not exist, or not yet: make it, or correct its name`)
  }
  if (errorCode !== 0) return errorFromBroker(errorCode, `Metadata of ${name}`)
  const leaderless = partitions.findIndex(({ leader }) => leader === undefined)
  if (leaderless < 0) return undefined
  return clusterError('NOT_FOUND', `${name}[${leaderless}] has no leader: no broker that has its records is alive`)
}
