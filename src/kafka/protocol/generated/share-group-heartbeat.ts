// Made by tools/kafka-protocol from the descriptions; long because each version has its function. Change those and run:
//     node tools/kafka-protocol/generate.ts

import type { Reader } from '../../bytes/reader.ts'
import type { Writer } from '../../bytes/writer.ts'
import type { ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse } from './api-types.ts'

function write1(m: ShareGroupHeartbeatRequest, w: Writer): void {
  w.str(m.groupId, true)
  w.str(m.memberId, true)
  w.i32(m.memberEpoch)
  w.strOrNull((m.rackId ?? null), true)
  const subscribedTopicNamesList = (m.subscribedTopicNames ?? null)
  if (subscribedTopicNamesList === null) w.length(-1, true)
  else {
    w.length(subscribedTopicNamesList.length, true)
    for (const subscribedTopicNamesElement of subscribedTopicNamesList) {
      w.str(subscribedTopicNamesElement, true)
    }
  }
  w.uvarint(0)
}

function read1(r: Reader): ShareGroupHeartbeatResponse {
  const throttleTimeMs = r.i32()
  const errorCode = r.i16()
  const errorMessage = r.strOrNull(true)
  const memberId = r.strOrNull(true)
  const memberEpoch = r.i32()
  const heartbeatIntervalMs = r.i32()
  let assignment: ShareGroupHeartbeatResponse['assignment'] = null
  if (r.i8() >= 0) {
    const assignmentTopicPartitionsCount = r.count(true, 18)
    if (assignmentTopicPartitionsCount === -1) r.unexpectedNull('topicPartitions')
    const assignmentTopicPartitions: NonNullable<NonNullable<ShareGroupHeartbeatResponse['assignment']>['topicPartitions']>[number][] = []
    for (let assignmentTopicPartitionsIndex = 0; assignmentTopicPartitionsIndex < assignmentTopicPartitionsCount; assignmentTopicPartitionsIndex++) {
      const topicId = r.uuid()
      const partitionsCount = r.count(true, 4)
      if (partitionsCount === -1) r.unexpectedNull('partitions')
      const partitions: NonNullable<NonNullable<NonNullable<ShareGroupHeartbeatResponse['assignment']>['topicPartitions']>[number]['partitions']>[number][] = []
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

/** By version, from 1 on. */
export const writeShareGroupHeartbeatRequest: readonly ((m: ShareGroupHeartbeatRequest, w: Writer, what: string) => void)[] = [
  write1,
]

/** By version, from 1 on. */
export const readShareGroupHeartbeatResponse: readonly ((r: Reader) => ShareGroupHeartbeatResponse)[] = [
  read1,
]
