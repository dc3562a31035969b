// Made by tools/kafka-protocol from the descriptions; long because each version has its function. Change those and run:
//     node tools/kafka-protocol/generate.ts

import type { Reader } from '../../bytes/reader.ts'
import type { Writer } from '../../bytes/writer.ts'
import { absentField } from '../write-message.ts'
import type { FetchRequest, FetchResponse } from './api-types.ts'

function write4(m: FetchRequest, w: Writer, what: string): void {
  w.i32((m.replicaId ?? -1))
  if (m.replicaState !== undefined && ((m.replicaState.replicaId !== undefined && m.replicaState.replicaId !== -1) || (m.replicaState.replicaEpoch !== undefined && m.replicaState.replicaEpoch !== -1))) throw absentField(what, 'replicaState')
  w.i32(m.maxWaitMs)
  w.i32(m.minBytes)
  w.i32((m.maxBytes ?? 2147483647))
  w.i8(m.isolationLevel)
  const topicsList = m.topics
  w.length(topicsList.length, false)
  for (const topicsElement of topicsList) {
    w.str((topicsElement.topic ?? ''), false)
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, false)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partition)
      w.i64(partitionsElement.fetchOffset)
      if (partitionsElement.lastFetchedEpoch !== undefined && partitionsElement.lastFetchedEpoch !== -1) throw absentField(what, 'lastFetchedEpoch')
      w.i32(partitionsElement.partitionMaxBytes)
    }
  }
  if (m.forgottenTopicsData !== undefined && m.forgottenTopicsData?.length !== 0) throw absentField(what, 'forgottenTopicsData')
}

function write5(m: FetchRequest, w: Writer, what: string): void {
  w.i32((m.replicaId ?? -1))
  if (m.replicaState !== undefined && ((m.replicaState.replicaId !== undefined && m.replicaState.replicaId !== -1) || (m.replicaState.replicaEpoch !== undefined && m.replicaState.replicaEpoch !== -1))) throw absentField(what, 'replicaState')
  w.i32(m.maxWaitMs)
  w.i32(m.minBytes)
  w.i32((m.maxBytes ?? 2147483647))
  w.i8(m.isolationLevel)
  const topicsList = m.topics
  w.length(topicsList.length, false)
  for (const topicsElement of topicsList) {
    w.str((topicsElement.topic ?? ''), false)
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, false)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partition)
      w.i64(partitionsElement.fetchOffset)
      if (partitionsElement.lastFetchedEpoch !== undefined && partitionsElement.lastFetchedEpoch !== -1) throw absentField(what, 'lastFetchedEpoch')
      w.i64((partitionsElement.logStartOffset ?? -1))
      w.i32(partitionsElement.partitionMaxBytes)
    }
  }
  if (m.forgottenTopicsData !== undefined && m.forgottenTopicsData?.length !== 0) throw absentField(what, 'forgottenTopicsData')
}

function write7(m: FetchRequest, w: Writer, what: string): void {
  w.i32((m.replicaId ?? -1))
  if (m.replicaState !== undefined && ((m.replicaState.replicaId !== undefined && m.replicaState.replicaId !== -1) || (m.replicaState.replicaEpoch !== undefined && m.replicaState.replicaEpoch !== -1))) throw absentField(what, 'replicaState')
  w.i32(m.maxWaitMs)
  w.i32(m.minBytes)
  w.i32((m.maxBytes ?? 2147483647))
  w.i8(m.isolationLevel)
  w.i32((m.sessionId ?? 0))
  w.i32((m.sessionEpoch ?? -1))
  const topicsList = m.topics
  w.length(topicsList.length, false)
  for (const topicsElement of topicsList) {
    w.str((topicsElement.topic ?? ''), false)
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, false)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partition)
      w.i64(partitionsElement.fetchOffset)
      if (partitionsElement.lastFetchedEpoch !== undefined && partitionsElement.lastFetchedEpoch !== -1) throw absentField(what, 'lastFetchedEpoch')
      w.i64((partitionsElement.logStartOffset ?? -1))
      w.i32(partitionsElement.partitionMaxBytes)
    }
  }
  const forgottenTopicsDataList = (m.forgottenTopicsData ?? [])
  w.length(forgottenTopicsDataList.length, false)
  for (const forgottenTopicsDataElement of forgottenTopicsDataList) {
    w.str((forgottenTopicsDataElement.topic ?? ''), false)
    const partitionsList = forgottenTopicsDataElement.partitions
    w.length(partitionsList.length, false)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement)
    }
  }
}

function write9(m: FetchRequest, w: Writer, what: string): void {
  w.i32((m.replicaId ?? -1))
  if (m.replicaState !== undefined && ((m.replicaState.replicaId !== undefined && m.replicaState.replicaId !== -1) || (m.replicaState.replicaEpoch !== undefined && m.replicaState.replicaEpoch !== -1))) throw absentField(what, 'replicaState')
  w.i32(m.maxWaitMs)
  w.i32(m.minBytes)
  w.i32((m.maxBytes ?? 2147483647))
  w.i8(m.isolationLevel)
  w.i32((m.sessionId ?? 0))
  w.i32((m.sessionEpoch ?? -1))
  const topicsList = m.topics
  w.length(topicsList.length, false)
  for (const topicsElement of topicsList) {
    w.str((topicsElement.topic ?? ''), false)
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, false)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partition)
      w.i32((partitionsElement.currentLeaderEpoch ?? -1))
      w.i64(partitionsElement.fetchOffset)
      if (partitionsElement.lastFetchedEpoch !== undefined && partitionsElement.lastFetchedEpoch !== -1) throw absentField(what, 'lastFetchedEpoch')
      w.i64((partitionsElement.logStartOffset ?? -1))
      w.i32(partitionsElement.partitionMaxBytes)
    }
  }
  const forgottenTopicsDataList = (m.forgottenTopicsData ?? [])
  w.length(forgottenTopicsDataList.length, false)
  for (const forgottenTopicsDataElement of forgottenTopicsDataList) {
    w.str((forgottenTopicsDataElement.topic ?? ''), false)
    const partitionsList = forgottenTopicsDataElement.partitions
    w.length(partitionsList.length, false)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement)
    }
  }
}

function write11(m: FetchRequest, w: Writer, what: string): void {
  w.i32((m.replicaId ?? -1))
  if (m.replicaState !== undefined && ((m.replicaState.replicaId !== undefined && m.replicaState.replicaId !== -1) || (m.replicaState.replicaEpoch !== undefined && m.replicaState.replicaEpoch !== -1))) throw absentField(what, 'replicaState')
  w.i32(m.maxWaitMs)
  w.i32(m.minBytes)
  w.i32((m.maxBytes ?? 2147483647))
  w.i8(m.isolationLevel)
  w.i32((m.sessionId ?? 0))
  w.i32((m.sessionEpoch ?? -1))
  const topicsList = m.topics
  w.length(topicsList.length, false)
  for (const topicsElement of topicsList) {
    w.str((topicsElement.topic ?? ''), false)
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, false)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partition)
      w.i32((partitionsElement.currentLeaderEpoch ?? -1))
      w.i64(partitionsElement.fetchOffset)
      if (partitionsElement.lastFetchedEpoch !== undefined && partitionsElement.lastFetchedEpoch !== -1) throw absentField(what, 'lastFetchedEpoch')
      w.i64((partitionsElement.logStartOffset ?? -1))
      w.i32(partitionsElement.partitionMaxBytes)
    }
  }
  const forgottenTopicsDataList = (m.forgottenTopicsData ?? [])
  w.length(forgottenTopicsDataList.length, false)
  for (const forgottenTopicsDataElement of forgottenTopicsDataList) {
    w.str((forgottenTopicsDataElement.topic ?? ''), false)
    const partitionsList = forgottenTopicsDataElement.partitions
    w.length(partitionsList.length, false)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement)
    }
  }
  w.str((m.rackId ?? ''), false)
}

function write12(m: FetchRequest, w: Writer, what: string): void {
  w.i32((m.replicaId ?? -1))
  if (m.replicaState !== undefined && ((m.replicaState.replicaId !== undefined && m.replicaState.replicaId !== -1) || (m.replicaState.replicaEpoch !== undefined && m.replicaState.replicaEpoch !== -1))) throw absentField(what, 'replicaState')
  w.i32(m.maxWaitMs)
  w.i32(m.minBytes)
  w.i32((m.maxBytes ?? 2147483647))
  w.i8(m.isolationLevel)
  w.i32((m.sessionId ?? 0))
  w.i32((m.sessionEpoch ?? -1))
  const topicsList = m.topics
  w.length(topicsList.length, true)
  for (const topicsElement of topicsList) {
    w.str((topicsElement.topic ?? ''), true)
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, true)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partition)
      w.i32((partitionsElement.currentLeaderEpoch ?? -1))
      w.i64(partitionsElement.fetchOffset)
      w.i32((partitionsElement.lastFetchedEpoch ?? -1))
      w.i64((partitionsElement.logStartOffset ?? -1))
      w.i32(partitionsElement.partitionMaxBytes)
      w.uvarint(0)
    }
    w.uvarint(0)
  }
  const forgottenTopicsDataList = (m.forgottenTopicsData ?? [])
  w.length(forgottenTopicsDataList.length, true)
  for (const forgottenTopicsDataElement of forgottenTopicsDataList) {
    w.str((forgottenTopicsDataElement.topic ?? ''), true)
    const partitionsList = forgottenTopicsDataElement.partitions
    w.length(partitionsList.length, true)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement)
    }
    w.uvarint(0)
  }
  w.str((m.rackId ?? ''), true)
  const clusterId = m.clusterId
  w.uvarint((clusterId !== undefined && clusterId !== null ? 1 : 0))
  if (clusterId !== undefined && clusterId !== null) {
    w.tag(0, (aside) => {
      aside.strOrNull(clusterId, true)
    })
  }
}

function write13(m: FetchRequest, w: Writer, what: string): void {
  w.i32((m.replicaId ?? -1))
  if (m.replicaState !== undefined && ((m.replicaState.replicaId !== undefined && m.replicaState.replicaId !== -1) || (m.replicaState.replicaEpoch !== undefined && m.replicaState.replicaEpoch !== -1))) throw absentField(what, 'replicaState')
  w.i32(m.maxWaitMs)
  w.i32(m.minBytes)
  w.i32((m.maxBytes ?? 2147483647))
  w.i8(m.isolationLevel)
  w.i32((m.sessionId ?? 0))
  w.i32((m.sessionEpoch ?? -1))
  const topicsList = m.topics
  w.length(topicsList.length, true)
  for (const topicsElement of topicsList) {
    w.uuid((topicsElement.topicId ?? 'AAAAAAAAAAAAAAAAAAAAAA'))
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, true)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partition)
      w.i32((partitionsElement.currentLeaderEpoch ?? -1))
      w.i64(partitionsElement.fetchOffset)
      w.i32((partitionsElement.lastFetchedEpoch ?? -1))
      w.i64((partitionsElement.logStartOffset ?? -1))
      w.i32(partitionsElement.partitionMaxBytes)
      w.uvarint(0)
    }
    w.uvarint(0)
  }
  const forgottenTopicsDataList = (m.forgottenTopicsData ?? [])
  w.length(forgottenTopicsDataList.length, true)
  for (const forgottenTopicsDataElement of forgottenTopicsDataList) {
    w.uuid((forgottenTopicsDataElement.topicId ?? 'AAAAAAAAAAAAAAAAAAAAAA'))
    const partitionsList = forgottenTopicsDataElement.partitions
    w.length(partitionsList.length, true)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement)
    }
    w.uvarint(0)
  }
  w.str((m.rackId ?? ''), true)
  const clusterId = m.clusterId
  w.uvarint((clusterId !== undefined && clusterId !== null ? 1 : 0))
  if (clusterId !== undefined && clusterId !== null) {
    w.tag(0, (aside) => {
      aside.strOrNull(clusterId, true)
    })
  }
}

function write15(m: FetchRequest, w: Writer, what: string): void {
  if (m.replicaId !== undefined && m.replicaId !== -1) throw absentField(what, 'replicaId')
  w.i32(m.maxWaitMs)
  w.i32(m.minBytes)
  w.i32((m.maxBytes ?? 2147483647))
  w.i8(m.isolationLevel)
  w.i32((m.sessionId ?? 0))
  w.i32((m.sessionEpoch ?? -1))
  const topicsList = m.topics
  w.length(topicsList.length, true)
  for (const topicsElement of topicsList) {
    w.uuid((topicsElement.topicId ?? 'AAAAAAAAAAAAAAAAAAAAAA'))
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, true)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partition)
      w.i32((partitionsElement.currentLeaderEpoch ?? -1))
      w.i64(partitionsElement.fetchOffset)
      w.i32((partitionsElement.lastFetchedEpoch ?? -1))
      w.i64((partitionsElement.logStartOffset ?? -1))
      w.i32(partitionsElement.partitionMaxBytes)
      w.uvarint(0)
    }
    w.uvarint(0)
  }
  const forgottenTopicsDataList = (m.forgottenTopicsData ?? [])
  w.length(forgottenTopicsDataList.length, true)
  for (const forgottenTopicsDataElement of forgottenTopicsDataList) {
    w.uuid((forgottenTopicsDataElement.topicId ?? 'AAAAAAAAAAAAAAAAAAAAAA'))
    const partitionsList = forgottenTopicsDataElement.partitions
    w.length(partitionsList.length, true)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement)
    }
    w.uvarint(0)
  }
  w.str((m.rackId ?? ''), true)
  const clusterId = m.clusterId
  const replicaState = m.replicaState
  w.uvarint((clusterId !== undefined && clusterId !== null ? 1 : 0) + (replicaState !== undefined && ((replicaState.replicaId !== undefined && replicaState.replicaId !== -1) || (replicaState.replicaEpoch !== undefined && replicaState.replicaEpoch !== -1)) ? 1 : 0))
  if (clusterId !== undefined && clusterId !== null) {
    w.tag(0, (aside) => {
      aside.strOrNull(clusterId, true)
    })
  }
  if (replicaState !== undefined && ((replicaState.replicaId !== undefined && replicaState.replicaId !== -1) || (replicaState.replicaEpoch !== undefined && replicaState.replicaEpoch !== -1))) {
    w.tag(1, (aside) => {
      aside.i32((replicaState.replicaId ?? -1))
      aside.i64((replicaState.replicaEpoch ?? -1))
      aside.uvarint(0)
    })
  }
}

function write17(m: FetchRequest, w: Writer, what: string): void {
  if (m.replicaId !== undefined && m.replicaId !== -1) throw absentField(what, 'replicaId')
  w.i32(m.maxWaitMs)
  w.i32(m.minBytes)
  w.i32((m.maxBytes ?? 2147483647))
  w.i8(m.isolationLevel)
  w.i32((m.sessionId ?? 0))
  w.i32((m.sessionEpoch ?? -1))
  const topicsList = m.topics
  w.length(topicsList.length, true)
  for (const topicsElement of topicsList) {
    w.uuid((topicsElement.topicId ?? 'AAAAAAAAAAAAAAAAAAAAAA'))
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, true)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partition)
      w.i32((partitionsElement.currentLeaderEpoch ?? -1))
      w.i64(partitionsElement.fetchOffset)
      w.i32((partitionsElement.lastFetchedEpoch ?? -1))
      w.i64((partitionsElement.logStartOffset ?? -1))
      w.i32(partitionsElement.partitionMaxBytes)
      const replicaDirectoryId = partitionsElement.replicaDirectoryId
      w.uvarint((replicaDirectoryId !== undefined && replicaDirectoryId !== 'AAAAAAAAAAAAAAAAAAAAAA' ? 1 : 0))
      if (replicaDirectoryId !== undefined && replicaDirectoryId !== 'AAAAAAAAAAAAAAAAAAAAAA') {
        w.tag(0, (aside) => {
          aside.uuid(replicaDirectoryId)
        })
      }
    }
    w.uvarint(0)
  }
  const forgottenTopicsDataList = (m.forgottenTopicsData ?? [])
  w.length(forgottenTopicsDataList.length, true)
  for (const forgottenTopicsDataElement of forgottenTopicsDataList) {
    w.uuid((forgottenTopicsDataElement.topicId ?? 'AAAAAAAAAAAAAAAAAAAAAA'))
    const partitionsList = forgottenTopicsDataElement.partitions
    w.length(partitionsList.length, true)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement)
    }
    w.uvarint(0)
  }
  w.str((m.rackId ?? ''), true)
  const clusterId = m.clusterId
  const replicaState = m.replicaState
  w.uvarint((clusterId !== undefined && clusterId !== null ? 1 : 0) + (replicaState !== undefined && ((replicaState.replicaId !== undefined && replicaState.replicaId !== -1) || (replicaState.replicaEpoch !== undefined && replicaState.replicaEpoch !== -1)) ? 1 : 0))
  if (clusterId !== undefined && clusterId !== null) {
    w.tag(0, (aside) => {
      aside.strOrNull(clusterId, true)
    })
  }
  if (replicaState !== undefined && ((replicaState.replicaId !== undefined && replicaState.replicaId !== -1) || (replicaState.replicaEpoch !== undefined && replicaState.replicaEpoch !== -1))) {
    w.tag(1, (aside) => {
      aside.i32((replicaState.replicaId ?? -1))
      aside.i64((replicaState.replicaEpoch ?? -1))
      aside.uvarint(0)
    })
  }
}

function write18(m: FetchRequest, w: Writer, what: string): void {
  if (m.replicaId !== undefined && m.replicaId !== -1) throw absentField(what, 'replicaId')
  w.i32(m.maxWaitMs)
  w.i32(m.minBytes)
  w.i32((m.maxBytes ?? 2147483647))
  w.i8(m.isolationLevel)
  w.i32((m.sessionId ?? 0))
  w.i32((m.sessionEpoch ?? -1))
  const topicsList = m.topics
  w.length(topicsList.length, true)
  for (const topicsElement of topicsList) {
    w.uuid((topicsElement.topicId ?? 'AAAAAAAAAAAAAAAAAAAAAA'))
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, true)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partition)
      w.i32((partitionsElement.currentLeaderEpoch ?? -1))
      w.i64(partitionsElement.fetchOffset)
      w.i32((partitionsElement.lastFetchedEpoch ?? -1))
      w.i64((partitionsElement.logStartOffset ?? -1))
      w.i32(partitionsElement.partitionMaxBytes)
      const replicaDirectoryId = partitionsElement.replicaDirectoryId
      const highWatermark = partitionsElement.highWatermark
      w.uvarint((replicaDirectoryId !== undefined && replicaDirectoryId !== 'AAAAAAAAAAAAAAAAAAAAAA' ? 1 : 0) + (highWatermark !== undefined && highWatermark !== 9223372036854775807n ? 1 : 0))
      if (replicaDirectoryId !== undefined && replicaDirectoryId !== 'AAAAAAAAAAAAAAAAAAAAAA') {
        w.tag(0, (aside) => {
          aside.uuid(replicaDirectoryId)
        })
      }
      if (highWatermark !== undefined && highWatermark !== 9223372036854775807n) {
        w.tag(1, (aside) => {
          aside.big(highWatermark)
        })
      }
    }
    w.uvarint(0)
  }
  const forgottenTopicsDataList = (m.forgottenTopicsData ?? [])
  w.length(forgottenTopicsDataList.length, true)
  for (const forgottenTopicsDataElement of forgottenTopicsDataList) {
    w.uuid((forgottenTopicsDataElement.topicId ?? 'AAAAAAAAAAAAAAAAAAAAAA'))
    const partitionsList = forgottenTopicsDataElement.partitions
    w.length(partitionsList.length, true)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement)
    }
    w.uvarint(0)
  }
  w.str((m.rackId ?? ''), true)
  const clusterId = m.clusterId
  const replicaState = m.replicaState
  w.uvarint((clusterId !== undefined && clusterId !== null ? 1 : 0) + (replicaState !== undefined && ((replicaState.replicaId !== undefined && replicaState.replicaId !== -1) || (replicaState.replicaEpoch !== undefined && replicaState.replicaEpoch !== -1)) ? 1 : 0))
  if (clusterId !== undefined && clusterId !== null) {
    w.tag(0, (aside) => {
      aside.strOrNull(clusterId, true)
    })
  }
  if (replicaState !== undefined && ((replicaState.replicaId !== undefined && replicaState.replicaId !== -1) || (replicaState.replicaEpoch !== undefined && replicaState.replicaEpoch !== -1))) {
    w.tag(1, (aside) => {
      aside.i32((replicaState.replicaId ?? -1))
      aside.i64((replicaState.replicaEpoch ?? -1))
      aside.uvarint(0)
    })
  }
}

function read4(r: Reader): FetchResponse {
  const throttleTimeMs = r.i32()
  const responsesCount = r.count(false, 6)
  if (responsesCount === -1) r.unexpectedNull('responses')
  const responses: NonNullable<FetchResponse['responses']>[number][] = []
  for (let responsesIndex = 0; responsesIndex < responsesCount; responsesIndex++) {
    const topic = r.str(false)
    const partitionsCount = r.count(false, 30)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const errorCode = r.i16()
      const highWatermark = r.i64()
      const lastStableOffset = r.i64()
      const abortedTransactionsCount = r.count(false, 16)
      let abortedTransactions: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['abortedTransactions'] = null
      if (abortedTransactionsCount !== -1) {
        const abortedTransactionsList: NonNullable<NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['abortedTransactions']>[number][] = []
        for (let abortedTransactionsIndex = 0; abortedTransactionsIndex < abortedTransactionsCount; abortedTransactionsIndex++) {
          const producerId = r.big()
          const firstOffset = r.i64()
          abortedTransactionsList.push({ producerId, firstOffset })
        }
        abortedTransactions = abortedTransactionsList
      }
      const records = r.bytesOrNull(false)
      partitions.push({ partitionIndex, errorCode, highWatermark, lastStableOffset, logStartOffset: -1, divergingEpoch: { epoch: -1, endOffset: -1 }, currentLeader: { leaderId: -1, leaderEpoch: -1 }, snapshotId: { endOffset: -1, epoch: -1 }, abortedTransactions, preferredReadReplica: -1, records })
    }
    responses.push({ topic, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partitions })
  }
  return { throttleTimeMs, errorCode: 0, sessionId: 0, responses, nodeEndpoints: [] }
}

function read5(r: Reader): FetchResponse {
  const throttleTimeMs = r.i32()
  const responsesCount = r.count(false, 6)
  if (responsesCount === -1) r.unexpectedNull('responses')
  const responses: NonNullable<FetchResponse['responses']>[number][] = []
  for (let responsesIndex = 0; responsesIndex < responsesCount; responsesIndex++) {
    const topic = r.str(false)
    const partitionsCount = r.count(false, 38)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const errorCode = r.i16()
      const highWatermark = r.i64()
      const lastStableOffset = r.i64()
      const logStartOffset = r.i64()
      const abortedTransactionsCount = r.count(false, 16)
      let abortedTransactions: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['abortedTransactions'] = null
      if (abortedTransactionsCount !== -1) {
        const abortedTransactionsList: NonNullable<NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['abortedTransactions']>[number][] = []
        for (let abortedTransactionsIndex = 0; abortedTransactionsIndex < abortedTransactionsCount; abortedTransactionsIndex++) {
          const producerId = r.big()
          const firstOffset = r.i64()
          abortedTransactionsList.push({ producerId, firstOffset })
        }
        abortedTransactions = abortedTransactionsList
      }
      const records = r.bytesOrNull(false)
      partitions.push({ partitionIndex, errorCode, highWatermark, lastStableOffset, logStartOffset, divergingEpoch: { epoch: -1, endOffset: -1 }, currentLeader: { leaderId: -1, leaderEpoch: -1 }, snapshotId: { endOffset: -1, epoch: -1 }, abortedTransactions, preferredReadReplica: -1, records })
    }
    responses.push({ topic, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partitions })
  }
  return { throttleTimeMs, errorCode: 0, sessionId: 0, responses, nodeEndpoints: [] }
}

function read7(r: Reader): FetchResponse {
  const throttleTimeMs = r.i32()
  const errorCode = r.i16()
  const sessionId = r.i32()
  const responsesCount = r.count(false, 6)
  if (responsesCount === -1) r.unexpectedNull('responses')
  const responses: NonNullable<FetchResponse['responses']>[number][] = []
  for (let responsesIndex = 0; responsesIndex < responsesCount; responsesIndex++) {
    const topic = r.str(false)
    const partitionsCount = r.count(false, 38)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const errorCode = r.i16()
      const highWatermark = r.i64()
      const lastStableOffset = r.i64()
      const logStartOffset = r.i64()
      const abortedTransactionsCount = r.count(false, 16)
      let abortedTransactions: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['abortedTransactions'] = null
      if (abortedTransactionsCount !== -1) {
        const abortedTransactionsList: NonNullable<NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['abortedTransactions']>[number][] = []
        for (let abortedTransactionsIndex = 0; abortedTransactionsIndex < abortedTransactionsCount; abortedTransactionsIndex++) {
          const producerId = r.big()
          const firstOffset = r.i64()
          abortedTransactionsList.push({ producerId, firstOffset })
        }
        abortedTransactions = abortedTransactionsList
      }
      const records = r.bytesOrNull(false)
      partitions.push({ partitionIndex, errorCode, highWatermark, lastStableOffset, logStartOffset, divergingEpoch: { epoch: -1, endOffset: -1 }, currentLeader: { leaderId: -1, leaderEpoch: -1 }, snapshotId: { endOffset: -1, epoch: -1 }, abortedTransactions, preferredReadReplica: -1, records })
    }
    responses.push({ topic, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partitions })
  }
  return { throttleTimeMs, errorCode, sessionId, responses, nodeEndpoints: [] }
}

function read11(r: Reader): FetchResponse {
  const throttleTimeMs = r.i32()
  const errorCode = r.i16()
  const sessionId = r.i32()
  const responsesCount = r.count(false, 6)
  if (responsesCount === -1) r.unexpectedNull('responses')
  const responses: NonNullable<FetchResponse['responses']>[number][] = []
  for (let responsesIndex = 0; responsesIndex < responsesCount; responsesIndex++) {
    const topic = r.str(false)
    const partitionsCount = r.count(false, 42)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const errorCode = r.i16()
      const highWatermark = r.i64()
      const lastStableOffset = r.i64()
      const logStartOffset = r.i64()
      const abortedTransactionsCount = r.count(false, 16)
      let abortedTransactions: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['abortedTransactions'] = null
      if (abortedTransactionsCount !== -1) {
        const abortedTransactionsList: NonNullable<NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['abortedTransactions']>[number][] = []
        for (let abortedTransactionsIndex = 0; abortedTransactionsIndex < abortedTransactionsCount; abortedTransactionsIndex++) {
          const producerId = r.big()
          const firstOffset = r.i64()
          abortedTransactionsList.push({ producerId, firstOffset })
        }
        abortedTransactions = abortedTransactionsList
      }
      const preferredReadReplica = r.i32()
      const records = r.bytesOrNull(false)
      partitions.push({ partitionIndex, errorCode, highWatermark, lastStableOffset, logStartOffset, divergingEpoch: { epoch: -1, endOffset: -1 }, currentLeader: { leaderId: -1, leaderEpoch: -1 }, snapshotId: { endOffset: -1, epoch: -1 }, abortedTransactions, preferredReadReplica, records })
    }
    responses.push({ topic, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partitions })
  }
  return { throttleTimeMs, errorCode, sessionId, responses, nodeEndpoints: [] }
}

function read12(r: Reader): FetchResponse {
  const throttleTimeMs = r.i32()
  const errorCode = r.i16()
  const sessionId = r.i32()
  const responsesCount = r.count(true, 3)
  if (responsesCount === -1) r.unexpectedNull('responses')
  const responses: NonNullable<FetchResponse['responses']>[number][] = []
  for (let responsesIndex = 0; responsesIndex < responsesCount; responsesIndex++) {
    const topic = r.str(true)
    const partitionsCount = r.count(true, 37)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const errorCode = r.i16()
      const highWatermark = r.i64()
      const lastStableOffset = r.i64()
      const logStartOffset = r.i64()
      let divergingEpoch: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['divergingEpoch'] = { epoch: -1, endOffset: -1 }
      let currentLeader: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['currentLeader'] = { leaderId: -1, leaderEpoch: -1 }
      let snapshotId: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['snapshotId'] = { endOffset: -1, epoch: -1 }
      const abortedTransactionsCount = r.count(true, 17)
      let abortedTransactions: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['abortedTransactions'] = null
      if (abortedTransactionsCount !== -1) {
        const abortedTransactionsList: NonNullable<NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['abortedTransactions']>[number][] = []
        for (let abortedTransactionsIndex = 0; abortedTransactionsIndex < abortedTransactionsCount; abortedTransactionsIndex++) {
          const producerId = r.big()
          const firstOffset = r.i64()
          r.skipTags()
          abortedTransactionsList.push({ producerId, firstOffset })
        }
        abortedTransactions = abortedTransactionsList
      }
      const preferredReadReplica = r.i32()
      const records = r.bytesOrNull(true)
      for (let left = r.uvarint(); left > 0; left--) {
        const tag = r.uvarint()
        const end = r.tagEnd()
        switch (tag) {
          case 0: {
            const divergingEpochTaggedEpoch = r.i32()
            const divergingEpochTaggedEndOffset = r.i64()
            r.skipTags()
            const divergingEpochTagged = { epoch: divergingEpochTaggedEpoch, endOffset: divergingEpochTaggedEndOffset }
            divergingEpoch = divergingEpochTagged
            break
          }
          case 1: {
            const currentLeaderTaggedLeaderId = r.i32()
            const currentLeaderTaggedLeaderEpoch = r.i32()
            r.skipTags()
            const currentLeaderTagged = { leaderId: currentLeaderTaggedLeaderId, leaderEpoch: currentLeaderTaggedLeaderEpoch }
            currentLeader = currentLeaderTagged
            break
          }
          case 2: {
            const snapshotIdTaggedEndOffset = r.i64()
            const snapshotIdTaggedEpoch = r.i32()
            r.skipTags()
            const snapshotIdTagged = { endOffset: snapshotIdTaggedEndOffset, epoch: snapshotIdTaggedEpoch }
            snapshotId = snapshotIdTagged
            break
          }
          default:
            r.pos = end
        }
        r.expectAt(end)
      }
      partitions.push({ partitionIndex, errorCode, highWatermark, lastStableOffset, logStartOffset, divergingEpoch, currentLeader, snapshotId, abortedTransactions, preferredReadReplica, records })
    }
    r.skipTags()
    responses.push({ topic, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partitions })
  }
  r.skipTags()
  return { throttleTimeMs, errorCode, sessionId, responses, nodeEndpoints: [] }
}

function read13(r: Reader): FetchResponse {
  const throttleTimeMs = r.i32()
  const errorCode = r.i16()
  const sessionId = r.i32()
  const responsesCount = r.count(true, 18)
  if (responsesCount === -1) r.unexpectedNull('responses')
  const responses: NonNullable<FetchResponse['responses']>[number][] = []
  for (let responsesIndex = 0; responsesIndex < responsesCount; responsesIndex++) {
    const topicId = r.uuid()
    const partitionsCount = r.count(true, 37)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const errorCode = r.i16()
      const highWatermark = r.i64()
      const lastStableOffset = r.i64()
      const logStartOffset = r.i64()
      let divergingEpoch: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['divergingEpoch'] = { epoch: -1, endOffset: -1 }
      let currentLeader: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['currentLeader'] = { leaderId: -1, leaderEpoch: -1 }
      let snapshotId: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['snapshotId'] = { endOffset: -1, epoch: -1 }
      const abortedTransactionsCount = r.count(true, 17)
      let abortedTransactions: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['abortedTransactions'] = null
      if (abortedTransactionsCount !== -1) {
        const abortedTransactionsList: NonNullable<NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['abortedTransactions']>[number][] = []
        for (let abortedTransactionsIndex = 0; abortedTransactionsIndex < abortedTransactionsCount; abortedTransactionsIndex++) {
          const producerId = r.big()
          const firstOffset = r.i64()
          r.skipTags()
          abortedTransactionsList.push({ producerId, firstOffset })
        }
        abortedTransactions = abortedTransactionsList
      }
      const preferredReadReplica = r.i32()
      const records = r.bytesOrNull(true)
      for (let left = r.uvarint(); left > 0; left--) {
        const tag = r.uvarint()
        const end = r.tagEnd()
        switch (tag) {
          case 0: {
            const divergingEpochTaggedEpoch = r.i32()
            const divergingEpochTaggedEndOffset = r.i64()
            r.skipTags()
            const divergingEpochTagged = { epoch: divergingEpochTaggedEpoch, endOffset: divergingEpochTaggedEndOffset }
            divergingEpoch = divergingEpochTagged
            break
          }
          case 1: {
            const currentLeaderTaggedLeaderId = r.i32()
            const currentLeaderTaggedLeaderEpoch = r.i32()
            r.skipTags()
            const currentLeaderTagged = { leaderId: currentLeaderTaggedLeaderId, leaderEpoch: currentLeaderTaggedLeaderEpoch }
            currentLeader = currentLeaderTagged
            break
          }
          case 2: {
            const snapshotIdTaggedEndOffset = r.i64()
            const snapshotIdTaggedEpoch = r.i32()
            r.skipTags()
            const snapshotIdTagged = { endOffset: snapshotIdTaggedEndOffset, epoch: snapshotIdTaggedEpoch }
            snapshotId = snapshotIdTagged
            break
          }
          default:
            r.pos = end
        }
        r.expectAt(end)
      }
      partitions.push({ partitionIndex, errorCode, highWatermark, lastStableOffset, logStartOffset, divergingEpoch, currentLeader, snapshotId, abortedTransactions, preferredReadReplica, records })
    }
    r.skipTags()
    responses.push({ topic: '', topicId, partitions })
  }
  r.skipTags()
  return { throttleTimeMs, errorCode, sessionId, responses, nodeEndpoints: [] }
}

function read16(r: Reader): FetchResponse {
  const throttleTimeMs = r.i32()
  const errorCode = r.i16()
  const sessionId = r.i32()
  const responsesCount = r.count(true, 18)
  if (responsesCount === -1) r.unexpectedNull('responses')
  const responses: NonNullable<FetchResponse['responses']>[number][] = []
  for (let responsesIndex = 0; responsesIndex < responsesCount; responsesIndex++) {
    const topicId = r.uuid()
    const partitionsCount = r.count(true, 37)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const errorCode = r.i16()
      const highWatermark = r.i64()
      const lastStableOffset = r.i64()
      const logStartOffset = r.i64()
      let divergingEpoch: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['divergingEpoch'] = { epoch: -1, endOffset: -1 }
      let currentLeader: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['currentLeader'] = { leaderId: -1, leaderEpoch: -1 }
      let snapshotId: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['snapshotId'] = { endOffset: -1, epoch: -1 }
      const abortedTransactionsCount = r.count(true, 17)
      let abortedTransactions: NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['abortedTransactions'] = null
      if (abortedTransactionsCount !== -1) {
        const abortedTransactionsList: NonNullable<NonNullable<NonNullable<FetchResponse['responses']>[number]['partitions']>[number]['abortedTransactions']>[number][] = []
        for (let abortedTransactionsIndex = 0; abortedTransactionsIndex < abortedTransactionsCount; abortedTransactionsIndex++) {
          const producerId = r.big()
          const firstOffset = r.i64()
          r.skipTags()
          abortedTransactionsList.push({ producerId, firstOffset })
        }
        abortedTransactions = abortedTransactionsList
      }
      const preferredReadReplica = r.i32()
      const records = r.bytesOrNull(true)
      for (let left = r.uvarint(); left > 0; left--) {
        const tag = r.uvarint()
        const end = r.tagEnd()
        switch (tag) {
          case 0: {
            const divergingEpochTaggedEpoch = r.i32()
            const divergingEpochTaggedEndOffset = r.i64()
            r.skipTags()
            const divergingEpochTagged = { epoch: divergingEpochTaggedEpoch, endOffset: divergingEpochTaggedEndOffset }
            divergingEpoch = divergingEpochTagged
            break
          }
          case 1: {
            const currentLeaderTaggedLeaderId = r.i32()
            const currentLeaderTaggedLeaderEpoch = r.i32()
            r.skipTags()
            const currentLeaderTagged = { leaderId: currentLeaderTaggedLeaderId, leaderEpoch: currentLeaderTaggedLeaderEpoch }
            currentLeader = currentLeaderTagged
            break
          }
          case 2: {
            const snapshotIdTaggedEndOffset = r.i64()
            const snapshotIdTaggedEpoch = r.i32()
            r.skipTags()
            const snapshotIdTagged = { endOffset: snapshotIdTaggedEndOffset, epoch: snapshotIdTaggedEpoch }
            snapshotId = snapshotIdTagged
            break
          }
          default:
            r.pos = end
        }
        r.expectAt(end)
      }
      partitions.push({ partitionIndex, errorCode, highWatermark, lastStableOffset, logStartOffset, divergingEpoch, currentLeader, snapshotId, abortedTransactions, preferredReadReplica, records })
    }
    r.skipTags()
    responses.push({ topic: '', topicId, partitions })
  }
  let nodeEndpoints: FetchResponse['nodeEndpoints'] = []
  for (let left = r.uvarint(); left > 0; left--) {
    const tag = r.uvarint()
    const end = r.tagEnd()
    switch (tag) {
      case 0: {
        const nodeEndpointsTaggedCount = r.count(true, 11)
        if (nodeEndpointsTaggedCount === -1) r.unexpectedNull('nodeEndpoints')
        const nodeEndpointsTagged: NonNullable<FetchResponse['nodeEndpoints']>[number][] = []
        for (let nodeEndpointsTaggedIndex = 0; nodeEndpointsTaggedIndex < nodeEndpointsTaggedCount; nodeEndpointsTaggedIndex++) {
          const nodeId = r.i32()
          const host = r.str(true)
          const port = r.i32()
          const rack = r.strOrNull(true)
          r.skipTags()
          nodeEndpointsTagged.push({ nodeId, host, port, rack })
        }
        nodeEndpoints = nodeEndpointsTagged
        break
      }
      default:
        r.pos = end
    }
    r.expectAt(end)
  }
  return { throttleTimeMs, errorCode, sessionId, responses, nodeEndpoints }
}

/** By version, from 4 on. */
export const writeFetchRequest: readonly ((m: FetchRequest, w: Writer, what: string) => void)[] = [
  write4, write5, write5, write7, write7, write9, write9, write11, write12, write13, write13, write15, write15, write17, write18,
]

/** By version, from 4 on. */
export const readFetchResponse: readonly ((r: Reader) => FetchResponse)[] = [
  read4, read5, read5, read7, read7, read7, read7, read11, read12, read13, read13, read13, read16, read16, read16,
]
