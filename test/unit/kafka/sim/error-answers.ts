import type { ApiName } from '../../../../src/kafka/protocol/generated/api-types.ts'
import type { Message } from '../../../../src/kafka/protocol/read-message.ts'

type Fields = Readonly<Record<string, unknown>>

/** The answer of an API in which every part that was asked for has failed with `code`. */
export function errorAnswer(name: ApiName, body: Message, code: number): Message {
  const make = ANSWERS[name]
  return make === undefined ? { errorCode: code } : make(body, code)
}

const ANSWERS: Partial<Record<ApiName, (body: Message, code: number) => Message>> = {
  Produce: (body, code) => ({
    responses: each(body['topicData'], ({ name, topicId, partitionData }) => ({
      name,
      topicId,
      partitionResponses: each(partitionData, ({ index }) => ({ index, errorCode: code, baseOffset: -1 })),
    })),
  }),
  Fetch: (body, code) => ({
    errorCode: 0,
    sessionId: 0,
    responses: each(body['topics'], ({ topic, topicId, partitions }) => ({
      topic,
      topicId,
      partitions: each(partitions, ({ partition }) => ({
        partitionIndex: partition,
        errorCode: code,
        highWatermark: -1,
      })),
    })),
  }),
  ListOffsets: (body, code) => ({
    topics: each(body['topics'], ({ name, partitions }) => ({
      name,
      partitions: each(partitions, ({ partitionIndex }) => ({ partitionIndex, errorCode: code })),
    })),
  }),
  OffsetForLeaderEpoch: (body, code) => ({
    topics: each(body['topics'], ({ topic, partitions }) => ({
      topic,
      partitions: each(partitions, ({ partition }) => ({ partition, errorCode: code })),
    })),
  }),
  Metadata: (body, code) => ({
    errorCode: code,
    topics: each(body['topics'], ({ name, topicId }) => ({ name, topicId, errorCode: code })),
  }),
  FindCoordinator: (body, code) => {
    const keys = body['coordinatorKeys'] as readonly string[]
    if (keys.length === 0) return { errorCode: code, nodeId: -1 }
    return { coordinators: keys.map((key) => ({ key, nodeId: -1, errorCode: code })) }
  },
  OffsetCommit: (body, code) => ({ topics: offsetTopics(body, code) }),
  TxnOffsetCommit: (body, code) => ({ topics: offsetTopics(body, code) }),
  OffsetFetch: (body, code) => ({
    errorCode: code,
    groups: each(body['groups'], ({ groupId }) => ({ groupId, topics: [], errorCode: code })),
  }),
  AddPartitionsToTxn: (body, code) => {
    const results = (topics: unknown) =>
      each(topics, ({ name, partitions }) => ({
        name,
        resultsByPartition: (partitions as readonly number[]).map((partitionIndex) => ({
          partitionIndex,
          partitionErrorCode: code,
        })),
      }))
    return {
      resultsByTopicV3AndBelow: results(body['v3AndBelowTopics']),
      resultsByTransaction: each(body['transactions'], ({ transactionalId, topics }) => ({
        transactionalId,
        topicResults: results(topics),
      })),
    }
  },
  CreateTopics: (body, code) => ({ topics: each(body['topics'], ({ name }) => ({ name, errorCode: code })) }),
}

function offsetTopics(body: Message, code: number): readonly Fields[] {
  return each(body['topics'], ({ name, topicId, partitions }) => ({
    name,
    topicId,
    partitions: each(partitions, ({ partitionIndex }) => ({ partitionIndex, errorCode: code })),
  }))
}

function each(list: unknown, make: (item: Fields) => Fields): readonly Fields[] {
  return ((list ?? []) as readonly Fields[]).map(make)
}
