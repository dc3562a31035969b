import type { ApiName } from '../../../../src/kafka/protocol/generated/api-types.ts'
import type { ClientConnection, Handlers } from './broker.ts'
import type { SimClock } from './clock.ts'
import { CODE } from './codes.ts'

export interface SecurityOptions {
  /** Passwords of users, for PLAIN. */
  readonly users: ReadonlyMap<string, string>
  /** A connection that has not authenticated again after so long ends with the next request (KIP-368). @default no limit */
  readonly sessionMs?: number
}

/** SASL PLAIN. The mechanisms themselves are tested elsewhere. */
export class SimSecurity {
  readonly #clock: SimClock
  readonly #options: SecurityOptions | undefined

  constructor(clock: SimClock, options: SecurityOptions | undefined) {
    this.#clock = clock
    this.#options = options
  }

  mayAsk(client: ClientConnection, api: ApiName): boolean {
    if (this.#options === undefined || api === 'ApiVersions' || api.startsWith('Sasl')) return true
    return this.#clock.now() < (client.authenticatedUntil ?? 0)
  }

  handlers(): Handlers {
    const options = this.#options
    if (options === undefined) return {}
    const { users, sessionMs } = options
    return {
      SaslHandshake: ({ mechanism }) => ({
        errorCode: mechanism === 'PLAIN' ? 0 : CODE.UNSUPPORTED_SASL_MECHANISM,
        mechanisms: ['PLAIN'],
      }),
      SaslAuthenticate: ({ authBytes }, { client }) => {
        const [, user = '', password] = Buffer.from(authBytes).toString().split('\0')
        if (users.get(user) !== password || password === undefined) {
          return { errorCode: CODE.SASL_AUTHENTICATION_FAILED, errorMessage: 'wrong password' }
        }
        client.authenticatedUntil = this.#clock.now() + (sessionMs ?? Infinity)
        return { errorCode: 0, authBytes: Buffer.alloc(0), sessionLifetimeMs: BigInt(sessionMs ?? 0) }
      },
    }
  }
}
