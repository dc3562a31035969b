import type { GetMessage } from 'amqplib'
import type { Clock } from '../../core/clock.ts'
import type { AttemptNote } from './attempt-ledger.ts'
import type { BrokerLocks } from './broker-lock.ts'
import { Declaring, declareQueue } from './declaring.ts'
import { REPLY, replyCode } from './errors.ts'
import { notesArguments } from './group-topology.ts'
import type { Session } from './link.ts'
import type { PlainPublisher } from './plain-publisher.ts'
import { QueueBrowser } from './queue-browser.ts'

/** As many as the queue keeps. */
const MOST = 10_000

/**
 * Notes about attempts that outlive the process. They lie in a queue beside the group's, in the order in which they were
 * made, for the member that gets the message next.
 */
export class AttemptNotes {
  readonly #clock: Clock
  readonly #locks: BrokerLocks
  readonly #publisher: PlainPublisher
  readonly #queue: string
  #declaredFor: Session | undefined
  #reading: Promise<readonly AttemptNote[]> | undefined

  constructor(parts: {
    readonly clock: Clock
    readonly locks: BrokerLocks
    readonly publisher: PlainPublisher
    readonly queue: string
  }) {
    this.#clock = parts.clock
    this.#locks = parts.locks
    this.#publisher = parts.publisher
    this.#queue = parts.queue
  }

  /** Resolves when the broker has them. */
  async write(session: Session, notes: readonly AttemptNote[]): Promise<void> {
    if (notes.length === 0) return
    // Most groups never have one.
    if (this.#declaredFor !== session) {
      const declaring = new Declaring(session)
      try {
        await declareQueue(declaring, this.#queue, { durable: true, arguments: notesArguments() }, [])
      } finally {
        await declaring.close()
      }
      this.#declaredFor = session
    }
    const rows = notes.map(({ key, count, used, by, begun }) => [key, count, used, by, begun])
    await this.#publisher.publish('', this.#queue, Buffer.from(JSON.stringify(rows)))
  }

  /** All notes there are. Calls at the same time share one look. */
  read(session: Session): Promise<readonly AttemptNote[]> {
    this.#reading ??= this.#read(session).finally(() => {
      this.#reading = undefined
    })
    return this.#reading
  }

  async #read(session: Session): Promise<readonly AttemptNote[]> {
    return this.#locks.with(session, `${this.#queue}:lock`, async () => {
      const browser = await QueueBrowser.open(this.#clock, session, this.#queue)
      try {
        return (await browser.next(MOST)).flatMap(decode)
      } catch (error) {
        if (replyCode(error) === REPLY.notFound) return []
        throw error
      } finally {
        await browser.close().catch(() => undefined)
      }
    })
  }
}

function decode({ content }: GetMessage): AttemptNote[] {
  try {
    const rows = JSON.parse(content.toString()) as unknown
    if (!Array.isArray(rows)) return []
    return (rows as unknown[][]).flatMap(([key, count, used, by, begun]) =>
      typeof key === 'string' && typeof count === 'number' && typeof used === 'number' && typeof by === 'string'
        ? [{ key, count, used, by, begun: begun === true }]
        : [],
    )
  } catch {
    return []
  }
}
