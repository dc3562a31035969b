// Made by tools/kafka-protocol from the descriptions; long because each version has its function. Change those and run:
//     node tools/kafka-protocol/generate.ts

import type { Reader } from '../../bytes/reader.ts'
import type { Writer } from '../../bytes/writer.ts'
import { absentField } from '../write-message.ts'
import type { ShareFetchRequest, ShareFetchResponse } from './api-types.ts'

function write1(m: ShareFetchRequest, w: Writer, what: string): void {
  w.strOrNull((m.groupId ?? null), true)
  w.strOrNull(m.memberId, true)
  w.i32(m.shareSessionEpoch)
  w.i32(m.maxWaitMs)
  w.i32(m.minBytes)
  w.i32((m.maxBytes ?? 2147483647))
  w.i32(m.maxRecords)
  w.i32(m.batchSize)
  if (m.isRenewAck === true) throw absentField(what, 'isRenewAck')
  const topicsList = m.topics
  w.length(topicsList.length, true)
  for (const topicsElement of topicsList) {
    w.uuid(topicsElement.topicId)
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, true)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partitionIndex)
      const acknowledgementBatchesList = partitionsElement.acknowledgementBatches
      w.length(acknowledgementBatchesList.length, true)
      for (const acknowledgementBatchesElement of acknowledgementBatchesList) {
        w.i64(acknowledgementBatchesElement.firstOffset)
        w.i64(acknowledgementBatchesElement.lastOffset)
        const acknowledgeTypesList = acknowledgementBatchesElement.acknowledgeTypes
        w.length(acknowledgeTypesList.length, true)
        for (const acknowledgeTypesElement of acknowledgeTypesList) {
          w.i8(acknowledgeTypesElement)
        }
        w.uvarint(0)
      }
      w.uvarint(0)
    }
    w.uvarint(0)
  }
  const forgottenTopicsDataList = m.forgottenTopicsData
  w.length(forgottenTopicsDataList.length, true)
  for (const forgottenTopicsDataElement of forgottenTopicsDataList) {
    w.uuid(forgottenTopicsDataElement.topicId)
    const partitionsList = forgottenTopicsDataElement.partitions
    w.length(partitionsList.length, true)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement)
    }
    w.uvarint(0)
  }
  w.uvarint(0)
}

function write2(m: ShareFetchRequest, w: Writer): void {
  w.strOrNull((m.groupId ?? null), true)
  w.strOrNull(m.memberId, true)
  w.i32(m.shareSessionEpoch)
  w.i32(m.maxWaitMs)
  w.i32(m.minBytes)
  w.i32((m.maxBytes ?? 2147483647))
  w.i32(m.maxRecords)
  w.i32(m.batchSize)
  w.i8((m.shareAcquireMode ?? 0))
  w.bool((m.isRenewAck ?? false))
  const topicsList = m.topics
  w.length(topicsList.length, true)
  for (const topicsElement of topicsList) {
    w.uuid(topicsElement.topicId)
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, true)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partitionIndex)
      const acknowledgementBatchesList = partitionsElement.acknowledgementBatches
      w.length(acknowledgementBatchesList.length, true)
      for (const acknowledgementBatchesElement of acknowledgementBatchesList) {
        w.i64(acknowledgementBatchesElement.firstOffset)
        w.i64(acknowledgementBatchesElement.lastOffset)
        const acknowledgeTypesList = acknowledgementBatchesElement.acknowledgeTypes
        w.length(acknowledgeTypesList.length, true)
        for (const acknowledgeTypesElement of acknowledgeTypesList) {
          w.i8(acknowledgeTypesElement)
        }
        w.uvarint(0)
      }
      w.uvarint(0)
    }
    w.uvarint(0)
  }
  const forgottenTopicsDataList = m.forgottenTopicsData
  w.length(forgottenTopicsDataList.length, true)
  for (const forgottenTopicsDataElement of forgottenTopicsDataList) {
    w.uuid(forgottenTopicsDataElement.topicId)
    const partitionsList = forgottenTopicsDataElement.partitions
    w.length(partitionsList.length, true)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement)
    }
    w.uvarint(0)
  }
  w.uvarint(0)
}

function read1(r: Reader): ShareFetchResponse {
  const throttleTimeMs = r.i32()
  const errorCode = r.i16()
  const errorMessage = r.strOrNull(true)
  const acquisitionLockTimeoutMs = r.i32()
  const responsesCount = r.count(true, 18)
  if (responsesCount === -1) r.unexpectedNull('responses')
  const responses: NonNullable<ShareFetchResponse['responses']>[number][] = []
  for (let responsesIndex = 0; responsesIndex < responsesCount; responsesIndex++) {
    const topicId = r.uuid()
    const partitionsCount = r.count(true, 22)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<ShareFetchResponse['responses']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const errorCode = r.i16()
      const errorMessage = r.strOrNull(true)
      const acknowledgeErrorCode = r.i16()
      const acknowledgeErrorMessage = r.strOrNull(true)
      const currentLeaderLeaderId = r.i32()
      const currentLeaderLeaderEpoch = r.i32()
      r.skipTags()
      const currentLeader = { leaderId: currentLeaderLeaderId, leaderEpoch: currentLeaderLeaderEpoch }
      const records = r.bytesOrNull(true)
      const acquiredRecordsCount = r.count(true, 19)
      if (acquiredRecordsCount === -1) r.unexpectedNull('acquiredRecords')
      const acquiredRecords: NonNullable<NonNullable<NonNullable<ShareFetchResponse['responses']>[number]['partitions']>[number]['acquiredRecords']>[number][] = []
      for (let acquiredRecordsIndex = 0; acquiredRecordsIndex < acquiredRecordsCount; acquiredRecordsIndex++) {
        const firstOffset = r.i64()
        const lastOffset = r.i64()
        const deliveryCount = r.i16()
        r.skipTags()
        acquiredRecords.push({ firstOffset, lastOffset, deliveryCount })
      }
      r.skipTags()
      partitions.push({ partitionIndex, errorCode, errorMessage, acknowledgeErrorCode, acknowledgeErrorMessage, currentLeader, records, acquiredRecords })
    }
    r.skipTags()
    responses.push({ topicId, partitions })
  }
  const nodeEndpointsCount = r.count(true, 11)
  if (nodeEndpointsCount === -1) r.unexpectedNull('nodeEndpoints')
  const nodeEndpoints: NonNullable<ShareFetchResponse['nodeEndpoints']>[number][] = []
  for (let nodeEndpointsIndex = 0; nodeEndpointsIndex < nodeEndpointsCount; nodeEndpointsIndex++) {
    const nodeId = r.i32()
    const host = r.str(true)
    const port = r.i32()
    const rack = r.strOrNull(true)
    r.skipTags()
    nodeEndpoints.push({ nodeId, host, port, rack })
  }
  r.skipTags()
  return { throttleTimeMs, errorCode, errorMessage, acquisitionLockTimeoutMs, responses, nodeEndpoints }
}

/** By version, from 1 on. */
export const writeShareFetchRequest: readonly ((m: ShareFetchRequest, w: Writer, what: string) => void)[] = [
  write1, write2,
]

/** By version, from 1 on. */
export const readShareFetchResponse: readonly ((r: Reader) => ShareFetchResponse)[] = [
  read1, read1,
]
