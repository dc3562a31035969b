// Made by tools/kafka-protocol from the descriptions; long because each version has its function. Change those and run:
//     node tools/kafka-protocol/generate.ts

import type { Reader } from '../../bytes/reader.ts'
import type { Writer } from '../../bytes/writer.ts'
import { absentField } from '../write-message.ts'
import type { TxnOffsetCommitRequest, TxnOffsetCommitResponse } from './api-types.ts'

function write0(m: TxnOffsetCommitRequest, w: Writer, what: string): void {
  w.str(m.transactionalId, false)
  w.str(m.groupId, false)
  w.big(m.producerId)
  w.i16(m.producerEpoch)
  if (m.generationId !== undefined && m.generationId !== -1) throw absentField(what, 'generationId')
  if (m.memberId !== undefined && m.memberId !== '') throw absentField(what, 'memberId')
  if (m.groupInstanceId !== undefined && m.groupInstanceId !== null) throw absentField(what, 'groupInstanceId')
  const topicsList = m.topics
  w.length(topicsList.length, false)
  for (const topicsElement of topicsList) {
    w.str(topicsElement.name, false)
    const partitionsList = topicsElement.partitions
    w.length(partitionsList.length, false)
    for (const partitionsElement of partitionsList) {
      w.i32(partitionsElement.partitionIndex)
      w.i64(partitionsElement.committedOffset)
      w.strOrNull(partitionsElement.committedMetadata, false)
    }
  }
}

function write2(m: TxnOffsetCommitRequest, w: Writer, what: string): void {
  w.str(m.transactionalId, false)
  w.str(m.groupId, false)
  w.big(m.producerId)
  w.i16(m.producerEpoch)
  if (m.generationId !== undefined && m.generationId !== -1) throw absentField(what, 'generationId')
  if (m.memberId !== undefined && m.memberId !== '') throw absentField(what, 'memberId')
  if (m.groupInstanceId !== undefined && m.groupInstanceId !== null) throw absentField(what, 'groupInstanceId')
  const topicsList = m.topics
  w.length(topicsList.length, false)
  for (const topicsElement of topicsList) {
    w.str(topicsElement.name, false)
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

function write3(m: TxnOffsetCommitRequest, w: Writer): void {
  w.str(m.transactionalId, true)
  w.str(m.groupId, true)
  w.big(m.producerId)
  w.i16(m.producerEpoch)
  w.i32((m.generationId ?? -1))
  w.str((m.memberId ?? ''), true)
  w.strOrNull((m.groupInstanceId ?? null), true)
  const topicsList = m.topics
  w.length(topicsList.length, true)
  for (const topicsElement of topicsList) {
    w.str(topicsElement.name, true)
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

function read0(r: Reader): TxnOffsetCommitResponse {
  const throttleTimeMs = r.i32()
  const topicsCount = r.count(false, 6)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<TxnOffsetCommitResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const name = r.str(false)
    const partitionsCount = r.count(false, 6)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<TxnOffsetCommitResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const errorCode = r.i16()
      partitions.push({ partitionIndex, errorCode })
    }
    topics.push({ name, partitions })
  }
  return { throttleTimeMs, topics }
}

function read3(r: Reader): TxnOffsetCommitResponse {
  const throttleTimeMs = r.i32()
  const topicsCount = r.count(true, 3)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<TxnOffsetCommitResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const name = r.str(true)
    const partitionsCount = r.count(true, 7)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<TxnOffsetCommitResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const errorCode = r.i16()
      r.skipTags()
      partitions.push({ partitionIndex, errorCode })
    }
    r.skipTags()
    topics.push({ name, partitions })
  }
  r.skipTags()
  return { throttleTimeMs, topics }
}

/** By version, from 0 on. */
export const writeTxnOffsetCommitRequest: readonly ((m: TxnOffsetCommitRequest, w: Writer, what: string) => void)[] = [
  write0, write0, write2, write3, write3, write3,
]

/** By version, from 0 on. */
export const readTxnOffsetCommitResponse: readonly ((r: Reader) => TxnOffsetCommitResponse)[] = [
  read0, read0, read0, read3, read3, read3,
]
