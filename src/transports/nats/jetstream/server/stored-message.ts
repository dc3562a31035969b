import { Incoming } from '../../connection/incoming.ts'
import type { StoredNative } from './jetstream-types.ts'
import type { Decoded, Mapping } from '../../wire/mapping.ts'

export interface ReadStored extends Decoded {
  /** Size of headers and body. */
  readonly bytes: number
}

/** A message as the server's API returns it. */
export function readStored(stored: StoredNative, stream: string, topic: string, mapping: Mapping): ReadStored {
  const incoming = new Incoming()
  const headers = Buffer.from(stored.hdrs ?? '', 'base64')
  incoming.subject = stored.subject
  incoming.bytes = Buffer.concat([headers, Buffer.from(stored.data ?? '', 'base64')])
  incoming.bodyAt = headers.length
  incoming.end = incoming.bytes.length
  const decoded = mapping.decode(incoming, topic, {
    id: () => `${stream}-${stored.seq}`,
    time: () => Date.parse(stored.time),
  })
  return { ...decoded, bytes: incoming.size }
}
