import type { Clock } from '../../../core/clock.ts'
import type { RabbitMqDelivery } from './delivery.ts'
import { OverflowFile } from './overflow-file.ts'

/** After a failure of the disk, bodies stay in memory for so long. */
const DISK_AGAIN_MS = 60_000
const NO_BODY = new Uint8Array(0)

export interface BodyBudgetHost {
  /** There is room again, after `load` or `mayCome` had none. */
  hasRoom(): void
  failed(error: unknown, doing: string): void
}

/**
 * Keeps the bodies of a consumer's unsettled messages, over all its queues, within `prefetchBytes`. RabbitMQ counts what it sends
 * ahead in messages. It could be told to send fewer to a new consumer only, and if that one dies before it has taken all that
 * came back from its predecessor, a quorum queue puts the rest of them first. So the messages stay here, and the bodies of those
 * that wait for longest go to disk.
 */
export class BodyBudget {
  readonly #limit: number
  readonly #clock: Clock
  readonly #host: BodyBudgetHost
  readonly #file: OverflowFile | undefined
  /** Bytes of the messages whose bodies are in memory. */
  #used = 0
  /** Number of bodies on disk. */
  #stored = 0
  #isWanted = false
  /** From when on the disk may be used. */
  #diskAt = -Infinity

  /** Without a folder all bodies stay in memory. */
  constructor(limit: number, folder: string | undefined, clock: Clock, host: BodyBudgetHost) {
    this.#limit = limit
    this.#clock = clock
    this.#host = host
    this.#file = folder === undefined ? undefined : new OverflowFile(folder)
  }

  /**
   * Whether more may come, for consumers that can only be stopped: until the limit is reached, and then not before half of it is
   * free.
   */
  mayCome(isStopped: boolean): boolean {
    if (this.#used < (isStopped ? this.#limit / 2 : this.#limit)) return true
    this.#isWanted = true
    return false
  }

  /** The message has arrived and waits here. */
  arrived(delivery: RabbitMqDelivery): void {
    // While bodies wait on disk, room is for them: they are older.
    const fits = this.#stored === 0 && (this.#used === 0 || this.#used + delivery.bytes <= this.#limit)
    if (fits || !this.#store(delivery)) this.#used += delivery.bytes
  }

  /** Loads the body if necessary. False when there is no room for it now. Throws when it can't be read. */
  load(delivery: RabbitMqDelivery): boolean {
    const { place } = delivery
    if (place === undefined) return true
    if (this.#used >= this.#limit) {
      this.#isWanted = true
      return false
    }
    let body: Uint8Array
    try {
      body = (this.#file as OverflowFile).take(place)
    } catch (error) {
      // Or it would go there again when it comes again.
      this.#diskAt = this.#clock.monotonic() + DISK_AGAIN_MS
      throw error
    }
    delivery.message = { ...delivery.message, body }
    delivery.place = undefined
    this.#stored--
    this.#used += delivery.bytes
    return true
  }

  /** The message is settled, or it went back. */
  left(delivery: RabbitMqDelivery): void {
    if (delivery.place === undefined) this.#used -= delivery.bytes
    else {
      this.#stored--
      this.#file?.drop(delivery.place)
      delivery.place = undefined
    }
    // Without a file, those that wait are stopped.
    if (!this.#isWanted || this.#used >= (this.#file === undefined ? this.#limit / 2 : this.#limit)) return
    this.#isWanted = false
    this.#host.hasRoom()
  }

  close(): void {
    this.#diskAt = Infinity
    this.#file?.close()
  }

  #store(delivery: RabbitMqDelivery): boolean {
    const { body } = delivery.message
    const now = this.#clock.monotonic()
    if (this.#file === undefined || body === null || body.byteLength === 0 || now < this.#diskAt) return false
    try {
      delivery.place = this.#file.write(body)
    } catch (error) {
      this.#diskAt = now + DISK_AGAIN_MS
      this.#host.failed(error, 'keeping messages beyond prefetchBytes on disk')
      return false
    }
    delivery.message = { ...delivery.message, body: NO_BODY }
    this.#stored++
    return true
  }
}
