// Made by tools/kafka-protocol from the descriptions; long because each version has its function. Change those and run:
//     node tools/kafka-protocol/generate.ts

import type { Reader } from '../../bytes/reader.ts'
import type { Writer } from '../../bytes/writer.ts'
import { absentField, notNull } from '../write-message.ts'
import type { OffsetFetchRequest, OffsetFetchResponse } from './api-types.ts'

function write1(m: OffsetFetchRequest, w: Writer, what: string): void {
  w.str((m.groupId ?? ''), false)
  const topicsList = notNull((m.topics === undefined ? [] : m.topics), what, 'topics')
  w.length(topicsList.length, false)
  for (const topicsElement of topicsList) {
    w.str(topicsElement.name, false)
    const partitionIndexesList = topicsElement.partitionIndexes
    w.length(partitionIndexesList.length, false)
    for (const partitionIndexesElement of partitionIndexesList) {
      w.i32(partitionIndexesElement)
    }
  }
  if (m.groups !== undefined && m.groups?.length !== 0) throw absentField(what, 'groups')
  if (m.requireStable === true) throw absentField(what, 'requireStable')
}

function write2(m: OffsetFetchRequest, w: Writer, what: string): void {
  w.str((m.groupId ?? ''), false)
  const topicsList = (m.topics === undefined ? [] : m.topics)
  if (topicsList === null) w.length(-1, false)
  else {
    w.length(topicsList.length, false)
    for (const topicsElement of topicsList) {
      w.str(topicsElement.name, false)
      const partitionIndexesList = topicsElement.partitionIndexes
      w.length(partitionIndexesList.length, false)
      for (const partitionIndexesElement of partitionIndexesList) {
        w.i32(partitionIndexesElement)
      }
    }
  }
  if (m.groups !== undefined && m.groups?.length !== 0) throw absentField(what, 'groups')
  if (m.requireStable === true) throw absentField(what, 'requireStable')
}

function write6(m: OffsetFetchRequest, w: Writer, what: string): void {
  w.str((m.groupId ?? ''), true)
  const topicsList = (m.topics === undefined ? [] : m.topics)
  if (topicsList === null) w.length(-1, true)
  else {
    w.length(topicsList.length, true)
    for (const topicsElement of topicsList) {
      w.str(topicsElement.name, true)
      const partitionIndexesList = topicsElement.partitionIndexes
      w.length(partitionIndexesList.length, true)
      for (const partitionIndexesElement of partitionIndexesList) {
        w.i32(partitionIndexesElement)
      }
      w.uvarint(0)
    }
  }
  if (m.groups !== undefined && m.groups?.length !== 0) throw absentField(what, 'groups')
  if (m.requireStable === true) throw absentField(what, 'requireStable')
  w.uvarint(0)
}

function write7(m: OffsetFetchRequest, w: Writer, what: string): void {
  w.str((m.groupId ?? ''), true)
  const topicsList = (m.topics === undefined ? [] : m.topics)
  if (topicsList === null) w.length(-1, true)
  else {
    w.length(topicsList.length, true)
    for (const topicsElement of topicsList) {
      w.str(topicsElement.name, true)
      const partitionIndexesList = topicsElement.partitionIndexes
      w.length(partitionIndexesList.length, true)
      for (const partitionIndexesElement of partitionIndexesList) {
        w.i32(partitionIndexesElement)
      }
      w.uvarint(0)
    }
  }
  if (m.groups !== undefined && m.groups?.length !== 0) throw absentField(what, 'groups')
  w.bool((m.requireStable ?? false))
  w.uvarint(0)
}

function write8(m: OffsetFetchRequest, w: Writer, what: string): void {
  if (m.groupId !== undefined && m.groupId !== '') throw absentField(what, 'groupId')
  if (m.topics !== undefined && m.topics?.length !== 0) throw absentField(what, 'topics')
  const groupsList = (m.groups ?? [])
  w.length(groupsList.length, true)
  for (const groupsElement of groupsList) {
    w.str(groupsElement.groupId, true)
    const topicsList = groupsElement.topics
    if (topicsList === null) w.length(-1, true)
    else {
      w.length(topicsList.length, true)
      for (const topicsElement of topicsList) {
        w.str((topicsElement.name ?? ''), true)
        const partitionIndexesList = topicsElement.partitionIndexes
        w.length(partitionIndexesList.length, true)
        for (const partitionIndexesElement of partitionIndexesList) {
          w.i32(partitionIndexesElement)
        }
        w.uvarint(0)
      }
    }
    w.uvarint(0)
  }
  w.bool((m.requireStable ?? false))
  w.uvarint(0)
}

function write9(m: OffsetFetchRequest, w: Writer, what: string): void {
  if (m.groupId !== undefined && m.groupId !== '') throw absentField(what, 'groupId')
  if (m.topics !== undefined && m.topics?.length !== 0) throw absentField(what, 'topics')
  const groupsList = (m.groups ?? [])
  w.length(groupsList.length, true)
  for (const groupsElement of groupsList) {
    w.str(groupsElement.groupId, true)
    w.strOrNull((groupsElement.memberId ?? null), true)
    w.i32((groupsElement.memberEpoch ?? -1))
    const topicsList = groupsElement.topics
    if (topicsList === null) w.length(-1, true)
    else {
      w.length(topicsList.length, true)
      for (const topicsElement of topicsList) {
        w.str((topicsElement.name ?? ''), true)
        const partitionIndexesList = topicsElement.partitionIndexes
        w.length(partitionIndexesList.length, true)
        for (const partitionIndexesElement of partitionIndexesList) {
          w.i32(partitionIndexesElement)
        }
        w.uvarint(0)
      }
    }
    w.uvarint(0)
  }
  w.bool((m.requireStable ?? false))
  w.uvarint(0)
}

function write10(m: OffsetFetchRequest, w: Writer, what: string): void {
  if (m.groupId !== undefined && m.groupId !== '') throw absentField(what, 'groupId')
  if (m.topics !== undefined && m.topics?.length !== 0) throw absentField(what, 'topics')
  const groupsList = (m.groups ?? [])
  w.length(groupsList.length, true)
  for (const groupsElement of groupsList) {
    w.str(groupsElement.groupId, true)
    w.strOrNull((groupsElement.memberId ?? null), true)
    w.i32((groupsElement.memberEpoch ?? -1))
    const topicsList = groupsElement.topics
    if (topicsList === null) w.length(-1, true)
    else {
      w.length(topicsList.length, true)
      for (const topicsElement of topicsList) {
        w.uuid((topicsElement.topicId ?? 'AAAAAAAAAAAAAAAAAAAAAA'))
        const partitionIndexesList = topicsElement.partitionIndexes
        w.length(partitionIndexesList.length, true)
        for (const partitionIndexesElement of partitionIndexesList) {
          w.i32(partitionIndexesElement)
        }
        w.uvarint(0)
      }
    }
    w.uvarint(0)
  }
  w.bool((m.requireStable ?? false))
  w.uvarint(0)
}

function read1(r: Reader): OffsetFetchResponse {
  const topicsCount = r.count(false, 6)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<OffsetFetchResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const name = r.str(false)
    const partitionsCount = r.count(false, 16)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<OffsetFetchResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const committedOffset = r.i64()
      const metadata = r.strOrNull(false)
      const errorCode = r.i16()
      partitions.push({ partitionIndex, committedOffset, committedLeaderEpoch: -1, metadata, errorCode })
    }
    topics.push({ name, partitions })
  }
  return { throttleTimeMs: 0, topics, errorCode: 0, groups: [] }
}

function read2(r: Reader): OffsetFetchResponse {
  const topicsCount = r.count(false, 6)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<OffsetFetchResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const name = r.str(false)
    const partitionsCount = r.count(false, 16)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<OffsetFetchResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const committedOffset = r.i64()
      const metadata = r.strOrNull(false)
      const errorCode = r.i16()
      partitions.push({ partitionIndex, committedOffset, committedLeaderEpoch: -1, metadata, errorCode })
    }
    topics.push({ name, partitions })
  }
  const errorCode = r.i16()
  return { throttleTimeMs: 0, topics, errorCode, groups: [] }
}

function read3(r: Reader): OffsetFetchResponse {
  const throttleTimeMs = r.i32()
  const topicsCount = r.count(false, 6)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<OffsetFetchResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const name = r.str(false)
    const partitionsCount = r.count(false, 16)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<OffsetFetchResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const committedOffset = r.i64()
      const metadata = r.strOrNull(false)
      const errorCode = r.i16()
      partitions.push({ partitionIndex, committedOffset, committedLeaderEpoch: -1, metadata, errorCode })
    }
    topics.push({ name, partitions })
  }
  const errorCode = r.i16()
  return { throttleTimeMs, topics, errorCode, groups: [] }
}

function read5(r: Reader): OffsetFetchResponse {
  const throttleTimeMs = r.i32()
  const topicsCount = r.count(false, 6)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<OffsetFetchResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const name = r.str(false)
    const partitionsCount = r.count(false, 20)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<OffsetFetchResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const committedOffset = r.i64()
      const committedLeaderEpoch = r.i32()
      const metadata = r.strOrNull(false)
      const errorCode = r.i16()
      partitions.push({ partitionIndex, committedOffset, committedLeaderEpoch, metadata, errorCode })
    }
    topics.push({ name, partitions })
  }
  const errorCode = r.i16()
  return { throttleTimeMs, topics, errorCode, groups: [] }
}

function read6(r: Reader): OffsetFetchResponse {
  const throttleTimeMs = r.i32()
  const topicsCount = r.count(true, 3)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<OffsetFetchResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const name = r.str(true)
    const partitionsCount = r.count(true, 20)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<OffsetFetchResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const partitionIndex = r.i32()
      const committedOffset = r.i64()
      const committedLeaderEpoch = r.i32()
      const metadata = r.strOrNull(true)
      const errorCode = r.i16()
      r.skipTags()
      partitions.push({ partitionIndex, committedOffset, committedLeaderEpoch, metadata, errorCode })
    }
    r.skipTags()
    topics.push({ name, partitions })
  }
  const errorCode = r.i16()
  r.skipTags()
  return { throttleTimeMs, topics, errorCode, groups: [] }
}

function read8(r: Reader): OffsetFetchResponse {
  const throttleTimeMs = r.i32()
  const groupsCount = r.count(true, 5)
  if (groupsCount === -1) r.unexpectedNull('groups')
  const groups: NonNullable<OffsetFetchResponse['groups']>[number][] = []
  for (let groupsIndex = 0; groupsIndex < groupsCount; groupsIndex++) {
    const groupId = r.str(true)
    const topicsCount = r.count(true, 3)
    if (topicsCount === -1) r.unexpectedNull('topics')
    const topics: NonNullable<NonNullable<OffsetFetchResponse['groups']>[number]['topics']>[number][] = []
    for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
      const name = r.str(true)
      const partitionsCount = r.count(true, 20)
      if (partitionsCount === -1) r.unexpectedNull('partitions')
      const partitions: NonNullable<NonNullable<NonNullable<OffsetFetchResponse['groups']>[number]['topics']>[number]['partitions']>[number][] = []
      for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
        const partitionIndex = r.i32()
        const committedOffset = r.i64()
        const committedLeaderEpoch = r.i32()
        const metadata = r.strOrNull(true)
        const errorCode = r.i16()
        r.skipTags()
        partitions.push({ partitionIndex, committedOffset, committedLeaderEpoch, metadata, errorCode })
      }
      r.skipTags()
      topics.push({ name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partitions })
    }
    const errorCode = r.i16()
    r.skipTags()
    groups.push({ groupId, topics, errorCode })
  }
  r.skipTags()
  return { throttleTimeMs, topics: [], errorCode: 0, groups }
}

function read10(r: Reader): OffsetFetchResponse {
  const throttleTimeMs = r.i32()
  const groupsCount = r.count(true, 5)
  if (groupsCount === -1) r.unexpectedNull('groups')
  const groups: NonNullable<OffsetFetchResponse['groups']>[number][] = []
  for (let groupsIndex = 0; groupsIndex < groupsCount; groupsIndex++) {
    const groupId = r.str(true)
    const topicsCount = r.count(true, 18)
    if (topicsCount === -1) r.unexpectedNull('topics')
    const topics: NonNullable<NonNullable<OffsetFetchResponse['groups']>[number]['topics']>[number][] = []
    for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
      const topicId = r.uuid()
      const partitionsCount = r.count(true, 20)
      if (partitionsCount === -1) r.unexpectedNull('partitions')
      const partitions: NonNullable<NonNullable<NonNullable<OffsetFetchResponse['groups']>[number]['topics']>[number]['partitions']>[number][] = []
      for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
        const partitionIndex = r.i32()
        const committedOffset = r.i64()
        const committedLeaderEpoch = r.i32()
        const metadata = r.strOrNull(true)
        const errorCode = r.i16()
        r.skipTags()
        partitions.push({ partitionIndex, committedOffset, committedLeaderEpoch, metadata, errorCode })
      }
      r.skipTags()
      topics.push({ name: '', topicId, partitions })
    }
    const errorCode = r.i16()
    r.skipTags()
    groups.push({ groupId, topics, errorCode })
  }
  r.skipTags()
  return { throttleTimeMs, topics: [], errorCode: 0, groups }
}

/** By version, from 1 on. */
export const writeOffsetFetchRequest: readonly ((m: OffsetFetchRequest, w: Writer, what: string) => void)[] = [
  write1, write2, write2, write2, write2, write6, write7, write8, write9, write10,
]

/** By version, from 1 on. */
export const readOffsetFetchResponse: readonly ((r: Reader) => OffsetFetchResponse)[] = [
  read1, read2, read3, read3, read5, read6, read6, read8, read8, read10,
]
