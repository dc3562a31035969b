import { Reader } from '../../../../src/kafka/bytes/reader.ts'
import { Writer } from '../../../../src/kafka/bytes/writer.ts'
import { allApis, apiOf } from '../../../../src/kafka/protocol/apis.ts'
import type { ApiName, Requests, Responses } from '../../../../src/kafka/protocol/generated/api-types.ts'
import type { Layout } from '../../../../src/kafka/protocol/layout.ts'
import { readMessage } from '../../../../src/kafka/protocol/read-message.ts'
import type { Message } from '../../../../src/kafka/protocol/read-message.ts'
import { writeMessage } from '../../../../src/kafka/protocol/write-message.ts'

type Leaf = string | number | bigint | boolean | null | undefined | Uint8Array

/** A request as a broker reads it: every field has a value. */
export type Filled<T> = T extends Leaf
  ? T
  : T extends readonly (infer E)[]
    ? E extends Buffer
      ? Buffer
      : readonly Filled<E>[]
    : { readonly [K in keyof T]-?: Filled<Exclude<T[K], undefined>> }

/** An answer as a broker writes it: what is left out has its default. */
export type Partially<T> = T extends Leaf
  ? T
  : T extends readonly (infer E)[]
    ? readonly Partially<E>[]
    : { readonly [K in keyof T]?: Partially<T[K]> | undefined }

export type Asked<N extends ApiName> = Filled<Requests[N]>
export type Answer<N extends ApiName> = Partially<Responses[N]>

export interface RequestFrame {
  readonly name: ApiName
  readonly version: number
  readonly correlationId: number
  readonly clientId: string | null
  readonly body: Message
}

let namesByKey: ReadonlyMap<number, ApiName> | undefined

/** A request whose frame starts behind its size. */
export function readRequestFrame(frame: Buffer): RequestFrame {
  const reader = new Reader(frame)
  const key = reader.i16()
  const version = reader.i16()
  const correlationId = reader.i32()
  const clientId = reader.strOrNull(false)
  namesByKey ??= new Map([...allApis()].map(([name, api]) => [api.description.key, name]))
  const name = namesByKey.get(key)
  if (name === undefined) throw new Error(`api ${key}`)
  const api = apiOf(name)
  if (api.isFlexible(version)) reader.skipTags()
  return { name, version, correlationId, clientId, body: readMessage(api.request(version), reader) }
}

/** A response with its size. */
export function writeResponseFrame(request: RequestFrame, body: object, version: number = request.version): Buffer {
  const { name, correlationId } = request
  const writer = new Writer()
  writer.i32(0)
  writer.i32(correlationId)
  if (name !== 'ApiVersions' && apiOf(name).isFlexible(version)) writer.uvarint(0)
  const layout = apiOf(name).response(version)
  writeMessage(layout, withoutAbsent(layout, body as Message), writer, name)
  const bytes = writer.toBuffer()
  bytes.writeInt32BE(bytes.length - 4)
  return bytes
}

/** A broker leaves out what a version has no field for. */
function withoutAbsent(layout: Layout, message: Readonly<Message>): Message {
  const kept: Message = {}
  for (const { name, type, isPresent } of layout.fields) {
    const value = message[name]
    if (!isPresent) continue
    const isStruct = typeof type !== 'string' && typeof value === 'object' && value !== null
    if (!isStruct) kept[name] = value
    else if (Array.isArray(value)) kept[name] = value.map((each) => withoutAbsent(type, each as Message))
    else kept[name] = withoutAbsent(type, value as Message)
  }
  return kept
}
