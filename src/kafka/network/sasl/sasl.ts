import { UnencodableError } from '../../errors.ts'
import { kindOf } from '../../options-reader.ts'
import { oauthBearer } from './oauth-bearer.ts'
import type { BearerToken } from './oauth-bearer.ts'
import { plain } from './plain.ts'
import { scram } from './scram.ts'
import type { Credentials, SaslExchange } from './sasl-exchange.ts'

/** Credentials that may change: asked for at each authentication. */
export type Given<T> = T | (() => T | Promise<T>)

/** The mechanism and its credentials. `plain` sends the password unencrypted: use it with TLS. */
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
  if (options.mechanism === 'oauthbearer') {
    const given = await valueOf(options.token)
    check('token', given, ['token'])
    return oauthBearer(given)
  }
  const given = await valueOf(options.credentials)
  check('credentials', given, ['username', 'password'])
  if (options.mechanism === 'plain') return plain(given)
  return scram(options.mechanism === 'scram-sha-256' ? 'sha256' : 'sha512', given, options.isDelegationToken ?? false)
}

function valueOf<T>(given: Given<T>): T | Promise<T> {
  return typeof given === 'function' ? (given as () => T | Promise<T>)() : given
}

/** What a function has returned was not checked before. */
function check(option: string, given: object, fields: readonly string[]): void {
  for (const field of fields) {
    const value: unknown = (given as Readonly<Record<string, unknown>> | undefined)?.[field]
    if (typeof value === 'string') continue
    throw new UnencodableError(
      `sasl.${option} has returned ${kindOf(value)} as ${field}: return { ${fields.join(', ')} }`,
    )
  }
}
