import { UnencodableError } from '../../errors.ts'
import type { SaslExchange } from './sasl-exchange.ts'

/** What an OAUTHBEARER function returns. */
export interface BearerToken {
  /** The token itself, usually a JWT. A function is asked again before the session that it has opened ends. */
  readonly token: string
  /** SASL extensions (KIP-342). */
  readonly extensions?: Readonly<Record<string, string>> | undefined
}

const SEPARATOR = '\u0001'

/** RFC 7628. A server that refuses says why in its answer; the broker then fails the authentication with that text. */
export function oauthBearer({ token, extensions = {} }: BearerToken): SaslExchange {
  for (const [name, value] of Object.entries(extensions)) {
    if (!/^[A-Za-z]+$/.test(name) || name === 'auth' || value.includes(SEPARATOR)) {
      throw new UnencodableError(`${name} can't be a SASL extension`)
    }
  }
  const pairs = [['auth', `Bearer ${token}`], ...Object.entries(extensions)].map(([name, value]) => `${name}=${value}`)
  const first = Buffer.from(`n,,${SEPARATOR}${pairs.join(SEPARATOR)}${SEPARATOR}${SEPARATOR}`)
  return {
    next: (challenge) => {
      if (challenge === undefined) return first
      // To a refusal, the client must answer with one separator before the server ends the exchange.
      return challenge.length === 0 ? undefined : Buffer.from(SEPARATOR)
    },
  }
}
