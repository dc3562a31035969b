import { oauthBearer } from './oauth-bearer.ts'
import type { BearerToken } from './oauth-bearer.ts'
import { plain } from './plain.ts'
import { scram } from './scram.ts'
import type { Credentials, SaslExchange } from './sasl-exchange.ts'

/** Credentials that may change: asked for at each authentication. */
export type Given<T> = T | (() => T | Promise<T>)

export type SaslOptions =
  | { readonly mechanism: 'plain'; readonly credentials: Given<Credentials> }
  | {
      readonly mechanism: 'scram-sha-256' | 'scram-sha-512'
      readonly credentials: Given<Credentials>
      /** The credentials are id and HMAC of a delegation token (KIP-48). @default false */
      readonly isDelegationToken?: boolean
    }
  | { readonly mechanism: 'oauthbearer'; readonly token: Given<BearerToken> }

/** The mechanism's name in SaslHandshake. */
export function mechanismOf(options: SaslOptions): string {
  return options.mechanism.toUpperCase()
}

export async function startSasl(options: SaslOptions): Promise<SaslExchange> {
  switch (options.mechanism) {
    case 'plain':
      return plain(await valueOf(options.credentials))
    case 'oauthbearer':
      return oauthBearer(await valueOf(options.token))
    default: {
      const hash = options.mechanism === 'scram-sha-256' ? 'sha256' : 'sha512'
      return scram(hash, await valueOf(options.credentials), options.isDelegationToken ?? false)
    }
  }
}

function valueOf<T>(given: Given<T>): T | Promise<T> {
  return typeof given === 'function' ? (given as () => T | Promise<T>)() : given
}
