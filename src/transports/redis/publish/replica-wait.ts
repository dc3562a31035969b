import type { Commands } from '../connection/commands.ts'
import { LostReplyError } from '../errors.ts'
import type { ResolvedRedisOptions } from '../options.ts'

/**
 * Confirms by WAIT that enough replicas have what was written. The server runs no other command of the connection meanwhile:
 * leases could not be renewed while replicas are missing, if each batch had a WAIT of its own. So there is one at a time,
 * and it confirms everything that was written before; batches that come meanwhile are written after it, and share the next.
 */
export class ReplicaWait {
  readonly #commands: Commands
  readonly #wait: NonNullable<ResolvedRedisOptions['wait']>
  /** By stream in a cluster, where each may be on another server. */
  #next = new Map<string, PromiseWithResolvers<void>>()
  #running: Promise<unknown> | undefined

  constructor(commands: Commands, wait: NonNullable<ResolvedRedisOptions['wait']>) {
    this.#commands = commands
    this.#wait = wait
  }

  get isBusy(): boolean {
    return this.#running !== undefined
  }

  /** Resolves when a batch may be written. */
  async turn(): Promise<void> {
    while (this.#running !== undefined) await this.#running
  }

  /** Resolves when replicas have what was written to the stream in this turn, and before. */
  confirm(stream: string): Promise<void> {
    const key = this.#commands.cluster ? stream : ''
    let waiting = this.#next.get(key)
    if (waiting === undefined) {
      if (this.#next.size === 0) setImmediate(() => this.#run())
      waiting = Promise.withResolvers<void>()
      this.#next.set(key, waiting)
    }
    return waiting.promise
  }

  #run(): void {
    const asked = this.#next
    this.#next = new Map()
    const running = Promise.all(
      [...asked].map(([stream, { resolve, reject }]) => this.#ask(stream).then(resolve, reject)),
    ).finally(() => {
      this.#running = undefined
    })
    this.#running = running
  }

  async #ask(stream: string): Promise<void> {
    const { replicas, timeoutMs } = this.#wait
    const confirmed = Number(await this.#commands.call(stream, ['WAIT', String(replicas), String(timeoutMs)]))
    if (confirmed < replicas)
      throw new LostReplyError(
        `${confirmed} of ${replicas} replicas confirmed within ${timeoutMs} ms; the primary has it`,
      )
  }
}
