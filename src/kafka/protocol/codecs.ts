import type { Reader } from '../bytes/reader.ts'
import type { Writer } from '../bytes/writer.ts'
import { apiOf } from './apis.ts'
import type { ApiName, Requests, Responses } from './generated/api-types.ts'
import {
  readConsumerGroupHeartbeatResponse,
  writeConsumerGroupHeartbeatRequest,
} from './generated/consumer-group-heartbeat.ts'
import { readFetchResponse, writeFetchRequest } from './generated/fetch.ts'
import { readHeartbeatResponse, writeHeartbeatRequest } from './generated/heartbeat.ts'
import { readMetadataResponse, writeMetadataRequest } from './generated/metadata.ts'
import { readOffsetCommitResponse, writeOffsetCommitRequest } from './generated/offset-commit.ts'
import { readOffsetFetchResponse, writeOffsetFetchRequest } from './generated/offset-fetch.ts'
import { readProduceResponse, writeProduceRequest } from './generated/produce.ts'
import { readShareAcknowledgeResponse, writeShareAcknowledgeRequest } from './generated/share-acknowledge.ts'
import { readShareFetchResponse, writeShareFetchRequest } from './generated/share-fetch.ts'
import { readShareGroupHeartbeatResponse, writeShareGroupHeartbeatRequest } from './generated/share-group-heartbeat.ts'
import { readTxnOffsetCommitResponse, writeTxnOffsetCommitRequest } from './generated/txn-offset-commit.ts'
import { readMessage } from './read-message.ts'
import type { Message } from './read-message.ts'
import { writeMessage } from './write-message.ts'

type WriteRequests = { readonly [N in ApiName]?: readonly ((m: Requests[N], w: Writer, what: string) => void)[] }
type ReadResponses = { readonly [N in ApiName]?: readonly ((r: Reader) => Responses[N])[] }

/** The generated functions; the table interpreter does the rest. */
export const GENERATED_WRITERS: WriteRequests = {
  Produce: writeProduceRequest,
  Fetch: writeFetchRequest,
  Metadata: writeMetadataRequest,
  OffsetCommit: writeOffsetCommitRequest,
  OffsetFetch: writeOffsetFetchRequest,
  TxnOffsetCommit: writeTxnOffsetCommitRequest,
  Heartbeat: writeHeartbeatRequest,
  ConsumerGroupHeartbeat: writeConsumerGroupHeartbeatRequest,
  ShareGroupHeartbeat: writeShareGroupHeartbeatRequest,
  ShareFetch: writeShareFetchRequest,
  ShareAcknowledge: writeShareAcknowledgeRequest,
}

export const GENERATED_READERS: ReadResponses = {
  Produce: readProduceResponse,
  Fetch: readFetchResponse,
  Metadata: readMetadataResponse,
  OffsetCommit: readOffsetCommitResponse,
  OffsetFetch: readOffsetFetchResponse,
  TxnOffsetCommit: readTxnOffsetCommitResponse,
  Heartbeat: readHeartbeatResponse,
  ConsumerGroupHeartbeat: readConsumerGroupHeartbeatResponse,
  ShareGroupHeartbeat: readShareGroupHeartbeatResponse,
  ShareFetch: readShareFetchResponse,
  ShareAcknowledge: readShareAcknowledgeResponse,
}

/** The body of a request, without its header. Throws {@link UnencodableError}. */
export function writeRequest<N extends ApiName>(name: N, version: number, body: Requests[N], writer: Writer): void {
  const what = `${name} v${version}`
  const { first } = apiOf(name).description.versions
  const generated = GENERATED_WRITERS[name]?.[version - first]
  if (generated !== undefined) generated(body, writer, what)
  else writeMessage(apiOf(name).request(version), body as unknown as Readonly<Message>, writer, what)
}

/** The body of a response; it must end where the frame does. Throws {@link MalformedError}. */
export function readResponse<N extends ApiName>(name: N, version: number, reader: Reader): Responses[N] {
  const { first } = apiOf(name).description.versions
  const generated = GENERATED_READERS[name]?.[version - first]
  const body =
    generated === undefined
      ? (readMessage(apiOf(name).response(version), reader) as unknown as Responses[N])
      : generated(reader)
  reader.expectEnd(`${name} v${version}`)
  return body
}
