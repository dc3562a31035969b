import { replyCode } from '../errors.ts'
import type { Arg } from './given-client.ts'

type Run = (args: readonly Arg[]) => Promise<unknown>

/** The server's identification of a connection. */
export interface ConnectionIdentity {
  readonly id: string
  /** Empty where it is unknown. */
  readonly address: string
}

/** Asks a connection for its identity; undefined where the user lacks the permission. */
export async function identify(run: Run): Promise<ConnectionIdentity | undefined> {
  try {
    const [id, info] = await Promise.all([
      run(['CLIENT', 'ID']).then(String),
      // Not available on every server or for every user: then it can be unblocked, but not closed from another
      // connection.
      run(['CLIENT', 'INFO']).then(String, (error: unknown) => {
        if (!isForbidden(error)) throw error
        return ''
      }),
    ])
    return { id, address: /(?:^| )addr=(\S+)/.exec(info)?.[1] ?? '' }
  } catch (error) {
    if (!isForbidden(error)) throw error
    return undefined
  }
}

/** True if a blocking command of one connection can be ended from another one. */
export async function mayUnblock(run: Run): Promise<boolean> {
  try {
    // No connection has the id 0.
    await Promise.all([run(['CLIENT', 'ID']), run(['CLIENT', 'UNBLOCK', '0'])])
    return true
  } catch (error) {
    if (!isForbidden(error)) throw error
    return false
  }
}

/** True for a missing permission, but not for a busy server or a lost connection. */
function isForbidden(error: unknown): boolean {
  const code = replyCode(error)
  return code === 'NOPERM' || code === 'ERR'
}

/** `ended`: it receives nothing more. `forbidden`: neither CLIENT KILL nor CLIENT UNBLOCK is allowed. */
export type EndedConnection = 'ended' | 'forbidden'

/**
 * Closes a connection at the server, or at least ends its blocking command. Checks the address, because the id may now
 * belong to another client, in another process of the server. Rejects when the connection used for this breaks, or the
 * server is busy.
 */
export async function endConnection(run: Run, { id, address }: ConnectionIdentity): Promise<EndedConnection> {
  if (address !== '') {
    try {
      await run(['CLIENT', 'KILL', 'ID', id, 'ADDR', address])
      return 'ended'
    } catch (error) {
      if (!isForbidden(error)) throw error
      // No such client: it has ended by itself.
      if (replyCode(error) === 'ERR') return 'ended'
    }
  }
  try {
    return Number(await run(['CLIENT', 'UNBLOCK', id])) === 1 ? 'ended' : 'forbidden'
  } catch (error) {
    if (!isForbidden(error)) throw error
    return 'forbidden'
  }
}
