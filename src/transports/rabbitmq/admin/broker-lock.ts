import { sleep } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { ConflictError } from '../../../core/errors.ts'
import { DeclareChannel } from '../topology/declare-channel.ts'
import { REPLY, replyCode } from '../errors.ts'
import { lockOf } from '../topology/names.ts'
import type { LiveConnection } from '../connection/live-connection.ts'

const WAIT_MS = 10_000
const RETRY_MS = 20

/**
 * Locks across all processes: an exclusive queue belongs to one connection, and the broker deletes it when that
 * connection ends, however it ends.
 */
export class BrokerLocks {
  readonly #clock: Clock
  /** The broker sees no conflict within one connection. */
  readonly #tails = new Map<string, Promise<unknown>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Runs `work` as the only reader of that queue. Rejects with `ConflictError` when another process reads it for too long. */
  with<Result>(live: LiveConnection, queue: string, work: () => Promise<Result>): Promise<Result> {
    const name = lockOf(queue)
    const before = this.#tails.get(name) ?? Promise.resolve()
    const run = before.then(() => this.#locked(live, name, work))
    const tail = run
      .catch(() => undefined)
      .finally(() => {
        if (this.#tails.get(name) === tail) this.#tails.delete(name)
      })
    this.#tails.set(name, tail)
    return run
  }

  async #locked<Result>(live: LiveConnection, name: string, work: () => Promise<Result>): Promise<Result> {
    const declaring = new DeclareChannel(live)
    try {
      await this.#acquire(declaring, name)
      try {
        return await work()
      } finally {
        await declaring.run((channel) => channel.deleteQueue(name)).catch(() => undefined)
      }
    } finally {
      await declaring.close()
    }
  }

  async #acquire(declaring: DeclareChannel, name: string): Promise<void> {
    const until = this.#clock.monotonic() + WAIT_MS
    for (;;) {
      try {
        await declaring.run((channel) =>
          channel.assertQueue(name, { exclusive: true, durable: false, autoDelete: true }),
        )
        return
      } catch (error) {
        if (replyCode(error) !== REPLY.resourceLocked) throw error
        if (this.#clock.monotonic() >= until)
          throw new ConflictError(
            `Another process has been reading the queue for ${WAIT_MS} ms and holds its lock "${name}"`,
            {
              cause: error,
            },
          )
      }
      await sleep(this.#clock, RETRY_MS * (1 + Math.random()))
    }
  }
}
