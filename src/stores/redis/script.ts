import { createHash } from 'node:crypto'
import type { RedisStoreClient } from './client.ts'

/** A Lua script about one key. Runs as one atomic step at the server, in a cluster too. Its result must be an integer. */
export class Script {
  readonly #source: string
  readonly #sha: string

  constructor(source: string) {
    this.#source = source
    this.#sha = createHash('sha1').update(source).digest('hex')
  }

  async run(client: RedisStoreClient, key: string, ...args: readonly string[]): Promise<number> {
    try {
      return Number(await this.#call(client, true, key, args))
    } catch (error) {
      // The server does not know it yet, or forgot it in a restart.
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error
      return Number(await this.#call(client, false, key, args))
    }
  }

  #call(client: RedisStoreClient, bySha: boolean, key: string, args: readonly string[]): Promise<unknown> {
    if ('evalSha' in client) {
      const options = { keys: [key], arguments: [...args] }
      return bySha ? client.evalSha(this.#sha, options) : client.eval(this.#source, options)
    }
    return bySha ? client.evalsha(this.#sha, 1, key, ...args) : client.eval(this.#source, 1, key, ...args)
  }
}
