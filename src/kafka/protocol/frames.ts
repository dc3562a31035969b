import { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
import { apiOf } from './apis.ts'
import { readResponse, writeRequest } from './codecs.ts'
import { API_KEYS } from './generated/api-types.ts'
import type { ApiName, Requests, Responses } from './generated/api-types.ts'

const SIZE_BYTES = 4

export interface RequestHeader {
  readonly correlationId: number
  readonly clientId: string | null
}

/** A whole request: size, header, body. Record batches are in it by reference and must not change until it's on the wire. */
export function encodeRequest<N extends ApiName>(
  name: N,
  version: number,
  header: RequestHeader,
  body: Requests[N],
): readonly Buffer[] {
  const writer = new Writer()
  writer.reserve(SIZE_BYTES)
  writer.i16(API_KEYS[name])
  writer.i16(version)
  writer.i32(header.correlationId)
  // Not compact in any version of the header: brokers must be able to read it before they know the version.
  writer.strOrNull(header.clientId, false)
  if (apiOf(name).isFlexible(version)) writer.uvarint(0)
  writeRequest(name, version, body, writer)
  const { size } = writer
  const chunks = writer.chunks()
  chunks[0]?.writeInt32BE(size - SIZE_BYTES, 0)
  return chunks
}

/** The correlation id of a response, whose frame starts behind the size. */
export function correlationIdOf(frame: Buffer): number {
  return new Reader(frame).i32()
}

/** The body of a response, whose frame starts behind the size. Bytes in it are views of the frame. */
export function decodeResponse<N extends ApiName>(name: N, version: number, frame: Buffer): Responses[N] {
  const reader = new Reader(frame)
  reader.i32()
  if (hasTagsInHeader(name, version)) reader.skipTags()
  return readResponse(name, version, reader)
}

/** Not ApiVersions: a client reads its response before it knows what the broker can do. */
function hasTagsInHeader(name: ApiName, version: number): boolean {
  return name !== 'ApiVersions' && apiOf(name).isFlexible(version)
}
