// Made by tools/kafka-protocol from the descriptions; long because each version has its function. Change those and run:
//     node tools/kafka-protocol/generate.ts

import type { Reader } from '../../bytes/reader.ts'
import type { Writer } from '../../bytes/writer.ts'
import { absentField } from '../write-message.ts'
import type { HeartbeatRequest, HeartbeatResponse } from './api-types.ts'

function write0(m: HeartbeatRequest, w: Writer, what: string): void {
  w.str(m.groupId, false)
  w.i32(m.generationId)
  w.str(m.memberId, false)
  if (m.groupInstanceId !== undefined && m.groupInstanceId !== null) throw absentField(what, 'groupInstanceId')
}

function write3(m: HeartbeatRequest, w: Writer): void {
  w.str(m.groupId, false)
  w.i32(m.generationId)
  w.str(m.memberId, false)
  w.strOrNull((m.groupInstanceId ?? null), false)
}

function write4(m: HeartbeatRequest, w: Writer): void {
  w.str(m.groupId, true)
  w.i32(m.generationId)
  w.str(m.memberId, true)
  w.strOrNull((m.groupInstanceId ?? null), true)
  w.uvarint(0)
}

function read0(r: Reader): HeartbeatResponse {
  const errorCode = r.i16()
  return { throttleTimeMs: 0, errorCode }
}

function read1(r: Reader): HeartbeatResponse {
  const throttleTimeMs = r.i32()
  const errorCode = r.i16()
  return { throttleTimeMs, errorCode }
}

function read4(r: Reader): HeartbeatResponse {
  const throttleTimeMs = r.i32()
  const errorCode = r.i16()
  r.skipTags()
  return { throttleTimeMs, errorCode }
}

/** By version, from 0 on. */
export const writeHeartbeatRequest: readonly ((m: HeartbeatRequest, w: Writer, what: string) => void)[] = [
  write0, write0, write0, write3, write4,
]

/** By version, from 0 on. */
export const readHeartbeatResponse: readonly ((r: Reader) => HeartbeatResponse)[] = [
  read0, read1, read1, read1, read4,
]
