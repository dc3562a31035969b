// Made by tools/kafka-protocol from the descriptions; long because each version has its function. Change those and run:
//     node tools/kafka-protocol/generate.ts

import type { Reader } from '../../bytes/reader.ts'
import type { Writer } from '../../bytes/writer.ts'
import { absentField } from '../write-message.ts'
import type { ShareAcknowledgeRequest, ShareAcknowledgeResponse } from './api-types.ts'

function write1(m: ShareAcknowledgeRequest, w: Writer, what: string): void {
  w.strOrNull((m.groupId ?? null), true)
  w.strOrNull(m.memberId, true)
  w.i32(m.shareSessionEpoch)
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
  w.uvarint(0)
}

function write2(m: ShareAcknowledgeRequest, w: Writer): void {
  w.strOrNull((m.groupId ?? null), true)
  w.strOrNull(m.memberId, true)
  w.i32(m.shareSessionEpoch)
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
  w.uvarint(0)
}

function read1(r: Reader): ShareAcknowledgeResponse {
  const throttleTimeMs = r.i32()
  const errorCode = r.i16()
  const errorMessage = r.strOrNull(true)
  const responsesCount = r.count(true, 18)
  if (responsesCount === -1) r.unexpectedNull('responses')
  const responses: NonNullable<ShareAcknowledgeResponse['responses']>[number][] = []
  for (let responsesIndex = 0; responsesIndex < responsesCount; responsesIndex++) {
    const topicId = r.uuid()
    const partitionsCount = r.count(true, 17)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<ShareAcknowledgeResponse['responses']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const errorCode = r.i16()
      const errorMessage = r.strOrNull(true)
      const currentLeaderLeaderId = r.i32()
      const currentLeaderLeaderEpoch = r.i32()
      r.skipTags()
      const currentLeader = { leaderId: currentLeaderLeaderId, leaderEpoch: currentLeaderLeaderEpoch }
      r.skipTags()
      partitions.push({ partitionIndex, errorCode, errorMessage, currentLeader })
    }
    r.skipTags()
    responses.push({ topicId, partitions })
  }
  const nodeEndpointsCount = r.count(true, 11)
  if (nodeEndpointsCount === -1) r.unexpectedNull('nodeEndpoints')
  const nodeEndpoints: NonNullable<ShareAcknowledgeResponse['nodeEndpoints']>[number][] = []
  for (let nodeEndpointsIndex = 0; nodeEndpointsIndex < nodeEndpointsCount; nodeEndpointsIndex++) {
    const nodeId = r.i32()
    const host = r.str(true)
    const port = r.i32()
    const rack = r.strOrNull(true)
    r.skipTags()
    nodeEndpoints.push({ nodeId, host, port, rack })
  }
  r.skipTags()
  return { throttleTimeMs, errorCode, errorMessage, acquisitionLockTimeoutMs: 0, responses, nodeEndpoints }
}

function read2(r: Reader): ShareAcknowledgeResponse {
  const throttleTimeMs = r.i32()
  const errorCode = r.i16()
  const errorMessage = r.strOrNull(true)
  const acquisitionLockTimeoutMs = r.i32()
  const responsesCount = r.count(true, 18)
  if (responsesCount === -1) r.unexpectedNull('responses')
  const responses: NonNullable<ShareAcknowledgeResponse['responses']>[number][] = []
  for (let responsesIndex = 0; responsesIndex < responsesCount; responsesIndex++) {
    const topicId = r.uuid()
    const partitionsCount = r.count(true, 17)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<ShareAcknowledgeResponse['responses']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const errorCode = r.i16()
      const errorMessage = r.strOrNull(true)
      const currentLeaderLeaderId = r.i32()
      const currentLeaderLeaderEpoch = r.i32()
      r.skipTags()
      const currentLeader = { leaderId: currentLeaderLeaderId, leaderEpoch: currentLeaderLeaderEpoch }
      r.skipTags()
      partitions.push({ partitionIndex, errorCode, errorMessage, currentLeader })
    }
    r.skipTags()
    responses.push({ topicId, partitions })
  }
  const nodeEndpointsCount = r.count(true, 11)
  if (nodeEndpointsCount === -1) r.unexpectedNull('nodeEndpoints')
  const nodeEndpoints: NonNullable<ShareAcknowledgeResponse['nodeEndpoints']>[number][] = []
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
export const writeShareAcknowledgeRequest: readonly ((m: ShareAcknowledgeRequest, w: Writer, what: string) => void)[] = [
  write1, write2,
]

/** By version, from 1 on. */
export const readShareAcknowledgeResponse: readonly ((r: Reader) => ShareAcknowledgeResponse)[] = [
  read1, read2,
]
