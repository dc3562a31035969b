import { allApis } from '../../../../src/kafka/protocol/apis.ts'
import { ZERO_UUID } from '../../../../src/kafka/protocol/layout.ts'
import type { Call, Handlers } from './broker.ts'
import { CODE } from './codes.ts'
import type { SimCluster } from './sim-cluster.ts'
import type { Answer } from './wire.ts'

const COORDINATOR_TYPES = ['group', 'transaction', 'share']

/** What is asked about the cluster itself, and topics. */
export function clusterApis(cluster: SimCluster): Handlers {
  return {
    ApiVersions: (_, { broker, version }) => ({
      // A broker that does not know the request's version says so, in version 0.
      errorCode: version > (cluster.maxVersions.ApiVersions ?? Infinity) ? CODE.UNSUPPORTED_VERSION : 0,
      apiKeys: apiKeys(cluster, broker.options.handlers()),
      finalizedFeatures: [...cluster.features].map(([name, level]) => ({
        name,
        maxVersionLevel: level,
        minVersionLevel: level,
      })),
    }),

    Metadata: ({ topics, allowAutoTopicCreation }, { broker }) => {
      const view = cluster.viewOf(broker)
      const wanted = topics?.map(({ name, topicId }) => ({ name, id: topicId === ZERO_UUID ? undefined : topicId }))
      const answers = wanted?.map(({ name, id }) => {
        const found = view.topics.find((topic) => (id === undefined ? topic.name === name : topic.topicId === id))
        if (found !== undefined) return found
        if (name !== null && allowAutoTopicCreation && cluster.autoCreatePartitions > 0) {
          cluster.createTopic(name, cluster.autoCreatePartitions)
          return { name, errorCode: CODE.LEADER_NOT_AVAILABLE }
        }
        const errorCode = id === undefined ? CODE.UNKNOWN_TOPIC_OR_PARTITION : CODE.UNKNOWN_TOPIC_ID
        return { name, topicId: id, errorCode }
      })
      return { ...view, topics: answers ?? view.topics }
    },

    FindCoordinator: ({ key, keyType, coordinatorKeys }, { version }) => {
      const find = (each: string) => cluster.coordinators.find(COORDINATOR_TYPES[keyType] ?? '', each)
      if (version < 4) return coordinatorAnswer(cluster, find(key))
      return { coordinators: coordinatorKeys.map((each) => ({ key: each, ...coordinatorAnswer(cluster, find(each)) })) }
    },

    CreateTopics: ({ topics }) => ({
      topics: topics.map(({ name, numPartitions, assignments }) => {
        if (cluster.topics.named(name) !== undefined) return { name, errorCode: CODE.TOPIC_ALREADY_EXISTS }
        const count = assignments.length > 0 ? assignments.length : Math.max(1, numPartitions)
        const topic = cluster.createTopic(name, count)
        return { name, topicId: topic.id, errorCode: 0, numPartitions: count, replicationFactor: 1 }
      }),
    }),

    DeleteTopics: ({ topics, topicNames }) => {
      const names = [
        ...topicNames,
        ...topics.map(({ name, topicId }) => name ?? cluster.topics.ofId(topicId)?.name ?? ''),
      ]
      return {
        responses: names.map((name) => {
          const topic = cluster.topics.named(name)
          if (topic === undefined) return { name, errorCode: CODE.UNKNOWN_TOPIC_OR_PARTITION }
          cluster.deleteTopic(name)
          return { name, topicId: topic.id, errorCode: 0 }
        }),
      }
    },
  }
}

function apiKeys(cluster: SimCluster, handlers: Handlers) {
  return [...allApis()]
    .filter(([name]) => handlers[name] !== undefined && (cluster.maxVersions[name] ?? 0) >= 0)
    .map(([name, { description, versions }]) => ({
      apiKey: description.key,
      minVersion: versions.first,
      maxVersion: Math.min(versions.last, cluster.maxVersions[name] ?? Infinity),
    }))
}

function coordinatorAnswer(cluster: SimCluster, id: number | undefined) {
  const broker = id === undefined ? undefined : cluster.broker(id)
  if (broker === undefined) return { errorCode: CODE.COORDINATOR_NOT_AVAILABLE, nodeId: -1 }
  return { errorCode: 0, nodeId: broker.id, host: broker.host, port: broker.port }
}

/** Whether a broker coordinates a key; an error code if not. */
export function checkCoordinator(cluster: SimCluster, call: Call, type: string, key: string): number {
  return cluster.coordinators.check(type, key, call.broker.id)
}

export type MetadataAnswer = Answer<'Metadata'> & {
  readonly topics: NonNullable<Answer<'Metadata'>['topics']>
}
