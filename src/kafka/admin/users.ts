import { pbkdf2, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import type { Requests } from '../protocol/generated/api-types.ts'
import { check, checkItems } from './admin-context.ts'
import type { AdminContext } from './admin-context.ts'
import { checkArguments, list, oneOf, only, optional, secret, text, whole } from './arguments.ts'

const MECHANISMS = ['unknown', 'scram-sha-256', 'scram-sha-512'] as const satisfies readonly ScramMechanism[]
/** Mechanisms that users of SCRAM have passwords for. */
export type ScramMechanism = 'unknown' | 'scram-sha-256' | 'scram-sha-512'

/** A user, for one mechanism. */
export interface ScramUser {
  readonly user: string
  readonly mechanism: ScramMechanism
  readonly iterations: number
}

const HASHES = { 'scram-sha-256': ['sha256', 32], 'scram-sha-512': ['sha512', 64] } as const
const RESOURCE_NOT_FOUND = 91
const derive = promisify(pbkdf2)

// What brokers take: below is too weak, above too slow.
const MIN_ITERATIONS = 4_096
const MAX_ITERATIONS = 16_384

const USER = text('the name of a user')
const MECHANISM = oneOf(Object.keys(HASHES))

/** SCRAM users, which the cluster stores: `admin.users`. */
export class UsersAdmin {
  readonly #context: AdminContext

  /** @internal */
  constructor(context: AdminContext) {
    this.#context = context
  }

  /** All users, or those that are named and exist. Passwords can't be read. */
  async list(users?: readonly string[]): Promise<readonly ScramUser[]> {
    checkArguments('admin.users.list', { users: [users, optional(list(USER, 'names of users'))] })
    return this.#context.read('list users', async () => {
      const body = { users: users?.map((name) => ({ name })) ?? null }
      const response = await this.#context.toController('DescribeUserScramCredentials', body)
      check('list users', response.errorCode, response.errorMessage)
      const found = response.results.filter(({ errorCode }) => errorCode !== RESOURCE_NOT_FOUND)
      checkItems(
        'list user',
        found.map((each) => ({ ...each, item: each.user })),
      )
      return found.flatMap(({ user, credentialInfos }) =>
        credentialInfos.map(({ mechanism, iterations }) => ({
          user,
          mechanism: MECHANISMS[mechanism] ?? 'unknown',
          iterations,
        })),
      )
    })
  }

  /**
   * Adds a user, or changes the password. The password itself never leaves this process. `iterations` of the hash:
   * 4,096 to 16,384. @default 8_192
   */
  async set(
    user: string,
    mechanism: keyof typeof HASHES,
    password: string,
    options: { readonly iterations?: number | undefined } = {},
  ): Promise<void> {
    checkArguments('admin.users.set', {
      user: [user, USER],
      mechanism: [mechanism, MECHANISM],
      password: [password, secret('the password')],
      options: [options, only({ iterations: optional(whole(MIN_ITERATIONS, MAX_ITERATIONS)) })],
    })
    const { iterations = 8_192 } = options
    const [hash, size] = HASHES[mechanism]
    const salt = randomBytes(size)
    const saltedPassword = await derive(password.normalize('NFKC'), salt, iterations, size, hash)
    const upsertions = [{ name: user, mechanism: MECHANISMS.indexOf(mechanism), iterations, salt, saltedPassword }]
    await this.#alter({ deletions: [], upsertions })
  }

  /** Deletes a user's password for one mechanism. Rejects with RESOURCE_NOT_FOUND if there is none. */
  async delete(user: string, mechanism: keyof typeof HASHES): Promise<void> {
    checkArguments('admin.users.delete', { user: [user, USER], mechanism: [mechanism, MECHANISM] })
    await this.#alter({ deletions: [{ name: user, mechanism: MECHANISMS.indexOf(mechanism) }], upsertions: [] })
  }

  #alter(body: Requests['AlterUserScramCredentials']): Promise<void> {
    return this.#context.write('alter users', async () => {
      const { results } = await this.#context.toController('AlterUserScramCredentials', body)
      checkItems(
        'alter user',
        results.map((each) => ({ ...each, item: each.user })),
      )
    })
  }
}
