import type { ConnectionIdentity } from '../connection/connection-identity.ts'

/** How the server knows who reads a partition: the connection, with an empty id when unknown, and the name of the consumer. */
export interface ReaderName extends ConnectionIdentity {
  readonly consumer: string
}

/** As it is stored with the owner of a partition: `id address consumer`. */
export function readerName(identity: ConnectionIdentity | undefined, consumer: string): string {
  const isKnown = identity !== undefined && identity.address !== ''
  return isKnown ? `${identity.id} ${identity.address} ${consumer}` : `  ${consumer}`
}

export function parseReaderName(text: string): ReaderName | undefined {
  const [, id, address, consumer] = /^(\S*) (\S*) (.+)$/s.exec(text) ?? []
  return id === undefined || address === undefined || consumer === undefined ? undefined : { id, address, consumer }
}
