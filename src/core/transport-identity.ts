import type { Transport, TransportIdentity } from './transport.ts'

/**
 * What handlers and observers see of a transport: one object for all of its messages. The server is looked up when it is
 * read, because the next connection may have another.
 */
export function identityOf(name: string, transport: Transport): TransportIdentity {
  return Object.freeze({
    name,
    system: transport.system,
    get server() {
      return transport.serverAddress?.()
    },
  })
}
