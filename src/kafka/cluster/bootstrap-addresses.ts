import { KafkaError } from '../errors.ts'
import type { Address } from '../network/sockets.ts'

const DEFAULT_PORT = 9092

/** Throws a {@link KafkaError} that names the address that can't be one. */
export function bootstrapAddresses(brokers: readonly string[]): readonly Address[] {
  if (brokers.length === 0) throw invalid('no bootstrap address was given')
  return brokers.map(parseAddress)
}

/** `host`, `host:port`, `[ipv6]:port`, `[ipv6]` or a bare IPv6 address. */
function parseAddress(text: string): Address {
  const [, bracketed, bare, port] = /^(?:\[([^\]]+)\]|([^:[\]/\s]+))(?::(\d{1,5}))?$/.exec(text.trim()) ?? []
  const host = bracketed ?? bare ?? (/^[\da-fA-F:.]*:[\da-fA-F:.]*:[\da-fA-F:.]*$/.test(text) ? text : undefined)
  const number = port === undefined ? DEFAULT_PORT : Number(port)
  if (host === undefined || number === 0 || number > 65_535) {
    throw invalid(`${JSON.stringify(text)} is not an address of a broker: write host:port`)
  }
  return { host, port: number }
}

function invalid(message: string): KafkaError {
  return new KafkaError(message, { code: 'INVALID_OPTION', action: 'fatal', outcome: 'not-sent' })
}
