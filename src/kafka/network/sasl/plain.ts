import type { Credentials, SaslExchange } from './sasl-exchange.ts'

/** RFC 4616. It sends the password unencrypted: use it with TLS. */
export function plain({ username, password }: Credentials): SaslExchange {
  const message = Buffer.from(`\0${username}\0${password}`)
  return { next: (challenge) => (challenge === undefined ? message : undefined) }
}
