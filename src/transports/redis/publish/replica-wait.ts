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
   * other cases: the primary may have it. `losses`: of the connection, before the first of that was sent.
   */
  confirm(stream: string, losses: number = this.#commands.losses): Promise<void> {
    const key = this.#commands.cluster ? stream : ''
    let waiting = this.#next.get(key)
    if (this.#next.size === 0) this.#losses = losses
    // On another connection, a WAIT would say nothing of what came before it.
    else if (this.#losses !== losses) return Promise.reject(connectionLost())
    if (waiting === undefined) {
      // Before the connection can bring anything, such as its end.
      if (this.#next.size === 0) process.nextTick(() => this.#run())
      waiting = Promise.withResolvers<void>()
      this.#next.set(key, waiting)
    }
    return waiting.promise
  }

  #run(): void {
    // What a script has stored meanwhile is confirmed by the next.
    if (this.#running !== undefined) return
    const [asked, losses] = [this.#next, this.#losses]
    this.#next = new Map()
    this.#running = Promise.all(
      [...asked].map(([stream, { resolve, reject }]) => this.#ask(stream, losses).then(resolve, reject)),
    ).then(() => {
      this.#running = undefined
      if (this.#next.size > 0) this.#run()
    })
  }

  async #ask(stream: string, losses: number): Promise<void> {
    const { replicas, timeoutMs } = this.#wait
    const args = ['WAIT', String(replicas), String(timeoutMs)]
    const reply = await this.#commands.call(stream, args).catch((error: unknown) => {
      throw new LostReplyError(`replicas could not be asked: ${messageOf(error)}`, { cause: error })
    })
    // On a connection where nothing was written, every replica "has it".
    if (this.#commands.losses !== losses) throw connectionLost()
    const confirmed = Number(reply)
    if (confirmed < replicas)
      throw new LostReplyError(
        `${confirmed} of ${replicas} replicas confirmed within ${timeoutMs} ms; the primary has it`,
      )
  }
}

function connectionLost(): LostReplyError {
  return new LostReplyError('the connection was lost before replicas had confirmed it')
}
