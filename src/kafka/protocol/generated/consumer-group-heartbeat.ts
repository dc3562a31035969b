// Made by tools/kafka-protocol from the descriptions; long because each version has its function. Change those and run:
//     node tools/kafka-protocol/generate.ts

import type { Reader } from '../../bytes/reader.ts'
import type { Writer } from '../../bytes/writer.ts'
import { absentField } from '../write-message.ts'
import type { ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse } from './api-types.ts'

function write0(m: ConsumerGroupHeartbeatRequest, w: Writer, what: string): void {
  w.str(m.groupId, true)
  w.str(m.memberId, true)
  w.i32(m.memberEpoch)
  w.strOrNull((m.instanceId ?? null), true)
  w.strOrNull((m.rackId ?? null), true)
  w.i32((m.rebalanceTimeoutMs ?? -1))
  const subscribedTopicNamesList = (m.subscribedTopicNames ?? null)
  if (subscribedTopicNamesList === null) w.length(-1, true)
  else {
    w.length(subscribedTopicNamesList.length, true)
    for (const subscribedTopicNamesElement of subscribedTopicNamesList) {
      w.str(subscribedTopicNamesElement, true)
    }
  }
  if (m.subscribedTopicRegex !== undefined && m.subscribedTopicRegex !== null) throw absentField(what, 'subscribedTopicRegex')
  w.strOrNull((m.serverAssignor ?? null), true)
  const topicPartitionsList = (m.topicPartitions ?? null)
  if (topicPartitionsList === null) w.length(-1, true)
  else {
    w.length(topicPartitionsList.length, true)
    for (const topicPartitionsElement of topicPartitionsList) {
      w.uuid(topicPartitionsElement.topicId)
      const partitionsList = topicPartitionsElement.partitions
      w.length(partitionsList.length, true)
      for (const partitionsElement of partitionsList) {
        w.i32(partitionsElement)
      }
      w.uvarint(0)
    }
  }
  w.uvarint(0)
}

function write1(m: ConsumerGroupHeartbeatRequest, w: Writer): void {
  w.str(m.groupId, true)
  w.str(m.memberId, true)
  w.i32(m.memberEpoch)
  w.strOrNull((m.instanceId ?? null), true)
  w.strOrNull((m.rackId ?? null), true)
  w.i32((m.rebalanceTimeoutMs ?? -1))
  const subscribedTopicNamesList = (m.subscribedTopicNames ?? null)
  if (subscribedTopicNamesList === null) w.length(-1, true)
  else {
    w.length(subscribedTopicNamesList.length, true)
    for (const subscribedTopicNamesElement of subscribedTopicNamesList) {
      w.str(subscribedTopicNamesElement, true)
    }
  }
  w.strOrNull((m.subscribedTopicRegex ?? null), true)
  w.strOrNull((m.serverAssignor ?? null), true)
  const topicPartitionsList = (m.topicPartitions ?? null)
  if (topicPartitionsList === null) w.length(-1, true)
  else {
    w.length(topicPartitionsList.length, true)
    for (const topicPartitionsElement of topicPartitionsList) {
      w.uuid(topicPartitionsElement.topicId)
      const partitionsList = topicPartitionsElement.partitions
      w.length(partitionsList.length, true)
      for (const partitionsElement of partitionsList) {
        w.i32(partitionsElement)
      }
      w.uvarint(0)
    }
  }
  w.uvarint(0)
}

function read0(r: Reader): ConsumerGroupHeartbeatResponse {
  const throttleTimeMs = r.i32()
  const errorCode = r.i16()
  const errorMessage = r.strOrNull(true)
  const memberId = r.strOrNull(true)
  const memberEpoch = r.i32()
  const heartbeatIntervalMs = r.i32()
  let assignment: ConsumerGroupHeartbeatResponse['assignment'] = null
  if (r.i8() >= 0) {
    const assignmentTopicPartitionsCount = r.count(true, 18)
    if (assignmentTopicPartitionsCount === -1) r.unexpectedNull('topicPartitions')
    const assignmentTopicPartitions: NonNullable<NonNullable<ConsumerGroupHeartbeatResponse['assignment']>['topicPartitions']>[number][] = []
    for (let assignmentTopicPartitionsIndex = 0; assignmentTopicPartitionsIndex < assignmentTopicPartitionsCount; assignmentTopicPartitionsIndex++) {
      const topicId = r.uuid()
      const partitionsCount = r.count(true, 4)
      if (partitionsCount === -1) r.unexpectedNull('partitions')
      const partitions: NonNullable<NonNullable<NonNullable<ConsumerGroupHeartbeatResponse['assignment']>['topicPartitions']>[number]['partitions']>[number][] = []
      for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
        partitions.push(r.i32())
      }
      r.skipTags()
      assignmentTopicPartitions.push({ topicId, partitions })
    }
    r.skipTags()
    assignment = { topicPartitions: assignmentTopicPartitions }
  }
  r.skipTags()
  return { throttleTimeMs, errorCode, errorMessage, memberId, memberEpoch, heartbeatIntervalMs, assignment }
}

/** By version, from 0 on. */
export const writeConsumerGroupHeartbeatRequest: readonly ((m: ConsumerGroupHeartbeatRequest, w: Writer, what: string) => void)[] = [
  write0, write1,
]

/** By version, from 0 on. */
export const readConsumerGroupHeartbeatResponse: readonly ((r: Reader) => ConsumerGroupHeartbeatResponse)[] = [
  read0, read0,
]
