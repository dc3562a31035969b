// Made by tools/kafka-protocol from the descriptions; long because each version has its function. Change those and run:
//     node tools/kafka-protocol/generate.ts

import type { Reader } from '../../bytes/reader.ts'
import type { Writer } from '../../bytes/writer.ts'
import type { ProduceRequest, ProduceResponse } from './api-types.ts'

function write3(m: ProduceRequest, w: Writer): void {
  w.strOrNull((m.transactionalId ?? null), false)
  w.i16(m.acks)
  w.i32(m.timeoutMs)
  const topicDataList = m.topicData
  w.length(topicDataList.length, false)
  for (const topicDataElement of topicDataList) {
    w.str((topicDataElement.name ?? ''), false)
    const partitionDataList = topicDataElement.partitionData
    w.length(partitionDataList.length, false)
    for (const partitionDataElement of partitionDataList) {
      w.i32(partitionDataElement.index)
      w.records(partitionDataElement.records, false)
    }
  }
}

function write9(m: ProduceRequest, w: Writer): void {
  w.strOrNull((m.transactionalId ?? null), true)
  w.i16(m.acks)
  w.i32(m.timeoutMs)
  const topicDataList = m.topicData
  w.length(topicDataList.length, true)
  for (const topicDataElement of topicDataList) {
    w.str((topicDataElement.name ?? ''), true)
    const partitionDataList = topicDataElement.partitionData
    w.length(partitionDataList.length, true)
    for (const partitionDataElement of partitionDataList) {
      w.i32(partitionDataElement.index)
      w.records(partitionDataElement.records, true)
      w.uvarint(0)
    }
    w.uvarint(0)
  }
  w.uvarint(0)
}

function write13(m: ProduceRequest, w: Writer): void {
  w.strOrNull((m.transactionalId ?? null), true)
  w.i16(m.acks)
  w.i32(m.timeoutMs)
  const topicDataList = m.topicData
  w.length(topicDataList.length, true)
  for (const topicDataElement of topicDataList) {
    w.uuid((topicDataElement.topicId ?? 'AAAAAAAAAAAAAAAAAAAAAA'))
    const partitionDataList = topicDataElement.partitionData
    w.length(partitionDataList.length, true)
    for (const partitionDataElement of partitionDataList) {
      w.i32(partitionDataElement.index)
      w.records(partitionDataElement.records, true)
      w.uvarint(0)
    }
    w.uvarint(0)
  }
  w.uvarint(0)
}

function read3(r: Reader): ProduceResponse {
  const responsesCount = r.count(false, 6)
  if (responsesCount === -1) r.unexpectedNull('responses')
  const responses: NonNullable<ProduceResponse['responses']>[number][] = []
  for (let responsesIndex = 0; responsesIndex < responsesCount; responsesIndex++) {
    const name = r.str(false)
    const partitionResponsesCount = r.count(false, 22)
    if (partitionResponsesCount === -1) r.unexpectedNull('partitionResponses')
    const partitionResponses: NonNullable<NonNullable<ProduceResponse['responses']>[number]['partitionResponses']>[number][] = []
    for (let partitionResponsesIndex = 0; partitionResponsesIndex < partitionResponsesCount; partitionResponsesIndex++) {
      const index = r.i32()
      const errorCode = r.i16()
      const baseOffset = r.i64()
      const logAppendTimeMs = r.time()
      partitionResponses.push({ index, errorCode, baseOffset, logAppendTimeMs, logStartOffset: -1, recordErrors: [], errorMessage: null, currentLeader: { leaderId: -1, leaderEpoch: -1 } })
    }
    responses.push({ name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partitionResponses })
  }
  const throttleTimeMs = r.i32()
  return { responses, throttleTimeMs, nodeEndpoints: [] }
}

function read5(r: Reader): ProduceResponse {
  const responsesCount = r.count(false, 6)
  if (responsesCount === -1) r.unexpectedNull('responses')
  const responses: NonNullable<ProduceResponse['responses']>[number][] = []
  for (let responsesIndex = 0; responsesIndex < responsesCount; responsesIndex++) {
    const name = r.str(false)
    const partitionResponsesCount = r.count(false, 30)
    if (partitionResponsesCount === -1) r.unexpectedNull('partitionResponses')
    const partitionResponses: NonNullable<NonNullable<ProduceResponse['responses']>[number]['partitionResponses']>[number][] = []
    for (let partitionResponsesIndex = 0; partitionResponsesIndex < partitionResponsesCount; partitionResponsesIndex++) {
      const index = r.i32()
      const errorCode = r.i16()
      const baseOffset = r.i64()
      const logAppendTimeMs = r.time()
      const logStartOffset = r.i64()
      partitionResponses.push({ index, errorCode, baseOffset, logAppendTimeMs, logStartOffset, recordErrors: [], errorMessage: null, currentLeader: { leaderId: -1, leaderEpoch: -1 } })
    }
    responses.push({ name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partitionResponses })
  }
  const throttleTimeMs = r.i32()
  return { responses, throttleTimeMs, nodeEndpoints: [] }
}

function read8(r: Reader): ProduceResponse {
  const responsesCount = r.count(false, 6)
  if (responsesCount === -1) r.unexpectedNull('responses')
  const responses: NonNullable<ProduceResponse['responses']>[number][] = []
  for (let responsesIndex = 0; responsesIndex < responsesCount; responsesIndex++) {
    const name = r.str(false)
    const partitionResponsesCount = r.count(false, 36)
    if (partitionResponsesCount === -1) r.unexpectedNull('partitionResponses')
    const partitionResponses: NonNullable<NonNullable<ProduceResponse['responses']>[number]['partitionResponses']>[number][] = []
    for (let partitionResponsesIndex = 0; partitionResponsesIndex < partitionResponsesCount; partitionResponsesIndex++) {
      const index = r.i32()
      const errorCode = r.i16()
      const baseOffset = r.i64()
      const logAppendTimeMs = r.time()
      const logStartOffset = r.i64()
      const recordErrorsCount = r.count(false, 6)
      if (recordErrorsCount === -1) r.unexpectedNull('recordErrors')
      const recordErrors: NonNullable<NonNullable<NonNullable<ProduceResponse['responses']>[number]['partitionResponses']>[number]['recordErrors']>[number][] = []
      for (let recordErrorsIndex = 0; recordErrorsIndex < recordErrorsCount; recordErrorsIndex++) {
        const batchIndex = r.i32()
        const batchIndexErrorMessage = r.strOrNull(false)
        recordErrors.push({ batchIndex, batchIndexErrorMessage })
      }
      const errorMessage = r.strOrNull(false)
      partitionResponses.push({ index, errorCode, baseOffset, logAppendTimeMs, logStartOffset, recordErrors, errorMessage, currentLeader: { leaderId: -1, leaderEpoch: -1 } })
    }
    responses.push({ name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partitionResponses })
  }
  const throttleTimeMs = r.i32()
  return { responses, throttleTimeMs, nodeEndpoints: [] }
}

function read9(r: Reader): ProduceResponse {
  const responsesCount = r.count(true, 3)
  if (responsesCount === -1) r.unexpectedNull('responses')
  const responses: NonNullable<ProduceResponse['responses']>[number][] = []
  for (let responsesIndex = 0; responsesIndex < responsesCount; responsesIndex++) {
    const name = r.str(true)
    const partitionResponsesCount = r.count(true, 33)
    if (partitionResponsesCount === -1) r.unexpectedNull('partitionResponses')
    const partitionResponses: NonNullable<NonNullable<ProduceResponse['responses']>[number]['partitionResponses']>[number][] = []
    for (let partitionResponsesIndex = 0; partitionResponsesIndex < partitionResponsesCount; partitionResponsesIndex++) {
      const index = r.i32()
      const errorCode = r.i16()
      const baseOffset = r.i64()
      const logAppendTimeMs = r.time()
      const logStartOffset = r.i64()
      const recordErrorsCount = r.count(true, 6)
      if (recordErrorsCount === -1) r.unexpectedNull('recordErrors')
      const recordErrors: NonNullable<NonNullable<NonNullable<ProduceResponse['responses']>[number]['partitionResponses']>[number]['recordErrors']>[number][] = []
      for (let recordErrorsIndex = 0; recordErrorsIndex < recordErrorsCount; recordErrorsIndex++) {
        const batchIndex = r.i32()
        const batchIndexErrorMessage = r.strOrNull(true)
        r.skipTags()
        recordErrors.push({ batchIndex, batchIndexErrorMessage })
      }
      const errorMessage = r.strOrNull(true)
      r.skipTags()
      partitionResponses.push({ index, errorCode, baseOffset, logAppendTimeMs, logStartOffset, recordErrors, errorMessage, currentLeader: { leaderId: -1, leaderEpoch: -1 } })
    }
    r.skipTags()
    responses.push({ name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partitionResponses })
  }
  const throttleTimeMs = r.i32()
  r.skipTags()
  return { responses, throttleTimeMs, nodeEndpoints: [] }
}

function read10(r: Reader): ProduceResponse {
  const responsesCount = r.count(true, 3)
  if (responsesCount === -1) r.unexpectedNull('responses')
  const responses: NonNullable<ProduceResponse['responses']>[number][] = []
  for (let responsesIndex = 0; responsesIndex < responsesCount; responsesIndex++) {
    const name = r.str(true)
    const partitionResponsesCount = r.count(true, 33)
    if (partitionResponsesCount === -1) r.unexpectedNull('partitionResponses')
    const partitionResponses: NonNullable<NonNullable<ProduceResponse['responses']>[number]['partitionResponses']>[number][] = []
    for (let partitionResponsesIndex = 0; partitionResponsesIndex < partitionResponsesCount; partitionResponsesIndex++) {
      const index = r.i32()
      const errorCode = r.i16()
      const baseOffset = r.i64()
      const logAppendTimeMs = r.time()
      const logStartOffset = r.i64()
      const recordErrorsCount = r.count(true, 6)
      if (recordErrorsCount === -1) r.unexpectedNull('recordErrors')
      const recordErrors: NonNullable<NonNullable<NonNullable<ProduceResponse['responses']>[number]['partitionResponses']>[number]['recordErrors']>[number][] = []
      for (let recordErrorsIndex = 0; recordErrorsIndex < recordErrorsCount; recordErrorsIndex++) {
        const batchIndex = r.i32()
        const batchIndexErrorMessage = r.strOrNull(true)
        r.skipTags()
        recordErrors.push({ batchIndex, batchIndexErrorMessage })
      }
      const errorMessage = r.strOrNull(true)
      let currentLeader: NonNullable<NonNullable<ProduceResponse['responses']>[number]['partitionResponses']>[number]['currentLeader'] = { leaderId: -1, leaderEpoch: -1 }
      for (let left = r.uvarint(); left > 0; left--) {
        const tag = r.uvarint()
        const end = r.tagEnd()
        switch (tag) {
          case 0: {
            const currentLeaderTaggedLeaderId = r.i32()
            const currentLeaderTaggedLeaderEpoch = r.i32()
            r.skipTags()
            const currentLeaderTagged = { leaderId: currentLeaderTaggedLeaderId, leaderEpoch: currentLeaderTaggedLeaderEpoch }
            currentLeader = currentLeaderTagged
            break
          }
          default:
            r.pos = end
        }
        r.expectAt(end)
      }
      partitionResponses.push({ index, errorCode, baseOffset, logAppendTimeMs, logStartOffset, recordErrors, errorMessage, currentLeader })
    }
    r.skipTags()
    responses.push({ name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partitionResponses })
  }
  const throttleTimeMs = r.i32()
  let nodeEndpoints: ProduceResponse['nodeEndpoints'] = []
  for (let left = r.uvarint(); left > 0; left--) {
    const tag = r.uvarint()
    const end = r.tagEnd()
    switch (tag) {
      case 0: {
        const nodeEndpointsTaggedCount = r.count(true, 11)
        if (nodeEndpointsTaggedCount === -1) r.unexpectedNull('nodeEndpoints')
        const nodeEndpointsTagged: NonNullable<ProduceResponse['nodeEndpoints']>[number][] = []
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
  return { responses, throttleTimeMs, nodeEndpoints }
}

function read13(r: Reader): ProduceResponse {
  const responsesCount = r.count(true, 18)
  if (responsesCount === -1) r.unexpectedNull('responses')
  const responses: NonNullable<ProduceResponse['responses']>[number][] = []
  for (let responsesIndex = 0; responsesIndex < responsesCount; responsesIndex++) {
    const topicId = r.uuid()
    const partitionResponsesCount = r.count(true, 33)
    if (partitionResponsesCount === -1) r.unexpectedNull('partitionResponses')
    const partitionResponses: NonNullable<NonNullable<ProduceResponse['responses']>[number]['partitionResponses']>[number][] = []
    for (let partitionResponsesIndex = 0; partitionResponsesIndex < partitionResponsesCount; partitionResponsesIndex++) {
      const index = r.i32()
      const errorCode = r.i16()
      const baseOffset = r.i64()
      const logAppendTimeMs = r.time()
      const logStartOffset = r.i64()
      const recordErrorsCount = r.count(true, 6)
      if (recordErrorsCount === -1) r.unexpectedNull('recordErrors')
      const recordErrors: NonNullable<NonNullable<NonNullable<ProduceResponse['responses']>[number]['partitionResponses']>[number]['recordErrors']>[number][] = []
      for (let recordErrorsIndex = 0; recordErrorsIndex < recordErrorsCount; recordErrorsIndex++) {
        const batchIndex = r.i32()
        const batchIndexErrorMessage = r.strOrNull(true)
        r.skipTags()
        recordErrors.push({ batchIndex, batchIndexErrorMessage })
      }
      const errorMessage = r.strOrNull(true)
      let currentLeader: NonNullable<NonNullable<ProduceResponse['responses']>[number]['partitionResponses']>[number]['currentLeader'] = { leaderId: -1, leaderEpoch: -1 }
      for (let left = r.uvarint(); left > 0; left--) {
        const tag = r.uvarint()
        const end = r.tagEnd()
        switch (tag) {
          case 0: {
            const currentLeaderTaggedLeaderId = r.i32()
            const currentLeaderTaggedLeaderEpoch = r.i32()
            r.skipTags()
            const currentLeaderTagged = { leaderId: currentLeaderTaggedLeaderId, leaderEpoch: currentLeaderTaggedLeaderEpoch }
            currentLeader = currentLeaderTagged
            break
          }
          default:
            r.pos = end
        }
        r.expectAt(end)
      }
      partitionResponses.push({ index, errorCode, baseOffset, logAppendTimeMs, logStartOffset, recordErrors, errorMessage, currentLeader })
    }
    r.skipTags()
    responses.push({ name: '', topicId, partitionResponses })
  }
  const throttleTimeMs = r.i32()
  let nodeEndpoints: ProduceResponse['nodeEndpoints'] = []
  for (let left = r.uvarint(); left > 0; left--) {
    const tag = r.uvarint()
    const end = r.tagEnd()
    switch (tag) {
      case 0: {
        const nodeEndpointsTaggedCount = r.count(true, 11)
        if (nodeEndpointsTaggedCount === -1) r.unexpectedNull('nodeEndpoints')
        const nodeEndpointsTagged: NonNullable<ProduceResponse['nodeEndpoints']>[number][] = []
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
  return { responses, throttleTimeMs, nodeEndpoints }
}

/** By version, from 3 on. */
export const writeProduceRequest: readonly ((m: ProduceRequest, w: Writer, what: string) => void)[] = [
  write3, write3, write3, write3, write3, write3, write9, write9, write9, write9, write13,
]

/** By version, from 3 on. */
export const readProduceResponse: readonly ((r: Reader) => ProduceResponse)[] = [
  read3, read3, read5, read5, read5, read8, read9, read10, read10, read10, read13,
]
