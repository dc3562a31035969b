// Made by tools/kafka-protocol from the descriptions; long because each version has its function. Change those and run:
//     node tools/kafka-protocol/generate.ts

import type { Reader } from '../../bytes/reader.ts'
import type { Writer } from '../../bytes/writer.ts'
import { absentField } from '../write-message.ts'
import type { OffsetCommitRequest, OffsetCommitResponse } from './api-types.ts'

function write2(m: OffsetCommitRequest, w: Writer, what: string): void {
  w.str(m.groupId, false)
  w.i32((m.generationIdOrMemberEpoch ?? -1))
  w.str(m.memberId, false)
  if (m.groupInstanceId !== undefined && m.groupInstanceId !== null) throw absentField(what, 'groupInstanceId')
  w.time((m.retentionTimeMs ?? -1))
  const topicsList = m.topics
  w.length(topicsList.length, false)
  for (const topicsElement of topicsList) {
    w.str((topicsElement.name ?? ''), false)
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, false)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partitionIndex)
      w.i64(partitionsElement.committedOffset)
      w.strOrNull(partitionsElement.committedMetadata, false)
    }
  }
}

function write5(m: OffsetCommitRequest, w: Writer, what: string): void {
  w.str(m.groupId, false)
  w.i32((m.generationIdOrMemberEpoch ?? -1))
  w.str(m.memberId, false)
  if (m.groupInstanceId !== undefined && m.groupInstanceId !== null) throw absentField(what, 'groupInstanceId')
  const topicsList = m.topics
  w.length(topicsList.length, false)
  for (const topicsElement of topicsList) {
    w.str((topicsElement.name ?? ''), false)
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, false)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partitionIndex)
      w.i64(partitionsElement.committedOffset)
      w.strOrNull(partitionsElement.committedMetadata, false)
    }
  }
}

function write6(m: OffsetCommitRequest, w: Writer, what: string): void {
  w.str(m.groupId, false)
  w.i32((m.generationIdOrMemberEpoch ?? -1))
  w.str(m.memberId, false)
  if (m.groupInstanceId !== undefined && m.groupInstanceId !== null) throw absentField(what, 'groupInstanceId')
  const topicsList = m.topics
  w.length(topicsList.length, false)
  for (const topicsElement of topicsList) {
    w.str((topicsElement.name ?? ''), false)
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, false)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partitionIndex)
      w.i64(partitionsElement.committedOffset)
      w.i32((partitionsElement.committedLeaderEpoch ?? -1))
      w.strOrNull(partitionsElement.committedMetadata, false)
    }
  }
}

function write7(m: OffsetCommitRequest, w: Writer): void {
  w.str(m.groupId, false)
  w.i32((m.generationIdOrMemberEpoch ?? -1))
  w.str(m.memberId, false)
  w.strOrNull((m.groupInstanceId ?? null), false)
  const topicsList = m.topics
  w.length(topicsList.length, false)
  for (const topicsElement of topicsList) {
    w.str((topicsElement.name ?? ''), false)
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, false)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partitionIndex)
      w.i64(partitionsElement.committedOffset)
      w.i32((partitionsElement.committedLeaderEpoch ?? -1))
      w.strOrNull(partitionsElement.committedMetadata, false)
    }
  }
}

function write8(m: OffsetCommitRequest, w: Writer): void {
  w.str(m.groupId, true)
  w.i32((m.generationIdOrMemberEpoch ?? -1))
  w.str(m.memberId, true)
  w.strOrNull((m.groupInstanceId ?? null), true)
  const topicsList = m.topics
  w.length(topicsList.length, true)
  for (const topicsElement of topicsList) {
    w.str((topicsElement.name ?? ''), true)
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, true)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partitionIndex)
      w.i64(partitionsElement.committedOffset)
      w.i32((partitionsElement.committedLeaderEpoch ?? -1))
      w.strOrNull(partitionsElement.committedMetadata, true)
      w.uvarint(0)
    }
    w.uvarint(0)
  }
  w.uvarint(0)
}

function write10(m: OffsetCommitRequest, w: Writer): void {
  w.str(m.groupId, true)
  w.i32((m.generationIdOrMemberEpoch ?? -1))
  w.str(m.memberId, true)
  w.strOrNull((m.groupInstanceId ?? null), true)
  const topicsList = m.topics
  w.length(topicsList.length, true)
  for (const topicsElement of topicsList) {
    w.uuid((topicsElement.topicId ?? 'AAAAAAAAAAAAAAAAAAAAAA'))
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, true)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partitionIndex)
      w.i64(partitionsElement.committedOffset)
      w.i32((partitionsElement.committedLeaderEpoch ?? -1))
      w.strOrNull(partitionsElement.committedMetadata, true)
      w.uvarint(0)
    }
    w.uvarint(0)
  }
  w.uvarint(0)
}

function read2(r: Reader): OffsetCommitResponse {
  const topicsCount = r.count(false, 6)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<OffsetCommitResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const name = r.str(false)
    const partitionsCount = r.count(false, 6)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<OffsetCommitResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const errorCode = r.i16()
      partitions.push({ partitionIndex, errorCode })
    }
    topics.push({ name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partitions })
  }
  return { throttleTimeMs: 0, topics }
}

function read3(r: Reader): OffsetCommitResponse {
  const throttleTimeMs = r.i32()
  const topicsCount = r.count(false, 6)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<OffsetCommitResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const name = r.str(false)
    const partitionsCount = r.count(false, 6)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<OffsetCommitResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const errorCode = r.i16()
      partitions.push({ partitionIndex, errorCode })
    }
    topics.push({ name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partitions })
  }
  return { throttleTimeMs, topics }
}

function read8(r: Reader): OffsetCommitResponse {
  const throttleTimeMs = r.i32()
  const topicsCount = r.count(true, 3)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<OffsetCommitResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const name = r.str(true)
    const partitionsCount = r.count(true, 7)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<OffsetCommitResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const errorCode = r.i16()
      r.skipTags()
      partitions.push({ partitionIndex, errorCode })
    }
    r.skipTags()
    topics.push({ name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partitions })
  }
  r.skipTags()
  return { throttleTimeMs, topics }
}

function read10(r: Reader): OffsetCommitResponse {
  const throttleTimeMs = r.i32()
  const topicsCount = r.count(true, 18)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<OffsetCommitResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const topicId = r.uuid()
    const partitionsCount = r.count(true, 7)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<OffsetCommitResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const errorCode = r.i16()
      r.skipTags()
      partitions.push({ partitionIndex, errorCode })
    }
    r.skipTags()
    topics.push({ name: '', topicId, partitions })
  }
  r.skipTags()
  return { throttleTimeMs, topics }
}

/** By version, from 2 on. */
export const writeOffsetCommitRequest: readonly ((m: OffsetCommitRequest, w: Writer, what: string) => void)[] = [
  write2, write2, write2, write5, write6, write7, write8, write8, write10,
]

/** By version, from 2 on. */
export const readOffsetCommitResponse: readonly ((r: Reader) => OffsetCommitResponse)[] = [
  read2, read3, read3, read3, read3, read3, read8, read8, read10,
]
