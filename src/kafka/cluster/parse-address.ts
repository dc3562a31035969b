import type { Address } from '../network/sockets.ts'

const DEFAULT_PORT = 9092

/** `host`, `host:port`, `[ipv6]:port`, `[ipv6]` or a bare IPv6 address; undefined if it is none of them. */
export function parseAddress(text: string): Address | undefined {
  const [, bracketed, bare, port] = /^(?:\[([^\]]+)\]|([^:[\]/\s]+))(?::(\d{1,5}))?$/.exec(text.trim()) ?? []
  const host = bracketed ?? bare ?? (/^[\da-fA-F:.]*:[\da-fA-F:.]*:[\da-fA-F:.]*$/.test(text) ? text : undefined)
  const number = port === undefined ? DEFAULT_PORT : Number(port)
  return host === undefined || number === 0 || number > 65_535 ? undefined : { host, port: number }
}
