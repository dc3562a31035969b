import type { Commands } from '../connection/commands.ts'
import { LostReplyError, messageOf } from '../errors.ts'
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
  /** Of the connection, when the first of these was asked for. */
  #losses = 0
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

  /**
   * Resolves when replicas have what was written to the stream in this turn, and before. Rejects with `LostReplyError` in all
   * other cases: the primary may have it.
   */
  confirm(stream: string): Promise<void> {
    const key = this.#commands.cluster ? stream : ''
    let waiting = this.#next.get(key)
    if (waiting === undefined) {
      if (this.#next.size === 0) {
        this.#losses = this.#commands.losses
        // Before the connection can bring anything, such as its end.
        process.nextTick(() => this.#run())
      }
      waiting = Promise.withResolvers<void>()
      this.#next.set(key, waiting)
    }
    return waiting.promise
  }

  #run(): void {
    const [asked, losses] = [this.#next, this.#losses]
    this.#next = new Map()
    const running = Promise.all(
      [...asked].map(([stream, { resolve, reject }]) => this.#ask(stream, losses).then(resolve, reject)),
    ).finally(() => {
      this.#running = undefined
    })
    this.#running = running
  }

  async #ask(stream: string, losses: number): Promise<void> {
    const { replicas, timeoutMs } = this.#wait
    const args = ['WAIT', String(replicas), String(timeoutMs)]
    const reply = await this.#commands.call(stream, args).catch((error: unknown) => {
      throw new LostReplyError(`replicas could not be asked: ${messageOf(error)}`, { cause: error })
    })
    // On a connection where nothing was written, every replica "has it".
    if (this.#commands.losses !== losses)
      throw new LostReplyError('the connection was lost before replicas had confirmed it')
    const confirmed = Number(reply)
    if (confirmed < replicas)
      throw new LostReplyError(
        `${confirmed} of ${replicas} replicas confirmed within ${timeoutMs} ms; the primary has it`,
      )
  }
}
