import { replyCode } from './errors.ts'
import type { Arg } from './given-client.ts'

type Run = (args: readonly Arg[]) => Promise<unknown>

/** What the server calls a connection. */
export interface ConnectionIdentity {
  readonly id: string
  /** Empty where it can't be told. */
  readonly address: string
}

/** Asks a connection for its identity; undefined where the user may not. */
export async function identify(run: Run): Promise<ConnectionIdentity | undefined> {
  try {
    const [id, info] = await Promise.all([
      run(['CLIENT', 'ID']).then(String),
      // Not on every server, and not for every user: then it can be woken, but not closed by others.
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

/** And not that the server is busy, or the connection lost. */
function isForbidden(error: unknown): boolean {
  const code = replyCode(error)
  return code === 'NOPERM' || code === 'ERR'
}

/** `ended`: it can be given nothing more. `forbidden`: neither CLIENT KILL nor CLIENT UNBLOCK is allowed. */
export type EndedConnection = 'ended' | 'forbidden'

/**
 * Closes a connection at the server, or at least ends what it blocks in. With the address, because the id may be that of
 * another client by now, in another process of the server. Rejects when the connection that is asked breaks, or the server is busy.
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
