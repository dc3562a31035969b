import type { GetMessage } from 'amqplib'
import type { Clock } from '../../core/clock.ts'
import type { BrokerLocks } from './broker-lock.ts'
import { REPLY, replyCode } from './errors.ts'
import type { GroupLayout } from './group-layout.ts'
import { layoutToken, parseLayout } from './group-layout.ts'
import type { Session } from './link.ts'
import type { Names } from './names.ts'
import { QueueBrowser } from './queue-browser.ts'

/** One declared group. */
export interface GroupRecord {
  readonly topic: string
  readonly group: string
  readonly layout: GroupLayout
}

/** Maximum number of records read at once; far more groups than one exchange has. */
const MOST = 50_000

/**
 * The list of groups on the broker. AMQP can't list queues, so every group leaves a message in a queue of the bus when
 * it is first declared.
 */
export class Registry {
  readonly #clock: Clock
  readonly #locks: BrokerLocks
  readonly #names: Names

  constructor(clock: Clock, locks: BrokerLocks, names: Names) {
    this.#clock = clock
    this.#locks = locks
    this.#names = names
  }

  get queue(): string {
    return this.#names.registry
  }

  encode({ topic, group, layout }: GroupRecord): Buffer {
    return Buffer.from(JSON.stringify({ topic, group, layout: layoutToken(layout) }))
  }

  async list(session: Session): Promise<readonly GroupRecord[]> {
    const found = new Map<string, GroupRecord>()
    await this.#browse(session, (record) => {
      found.set(`${record.topic}:${record.group}`, record)
      return false
    })
    return [...found.values()]
  }

  /** Removes a group from the list; resolves with its records. */
  async remove(session: Session, topic: string, group: string): Promise<readonly GroupRecord[]> {
    const removed: GroupRecord[] = []
    await this.#browse(session, (record) => {
      const isIt = record.topic === topic && record.group === group
      if (isIt) removed.push(record)
      return isIt
    })
    return removed
  }

  async #browse(session: Session, isToRemove: (record: GroupRecord) => boolean): Promise<void> {
    await this.#locks.with(session, `${this.queue}:lock`, async () => {
      const browser = await QueueBrowser.open(this.#clock, session, this.queue)
      try {
        for (const message of await browser.next(MOST)) {
          const record = decode(message)
          if (record !== undefined && isToRemove(record)) browser.remove(message)
        }
      } catch (error) {
        // No group was ever declared.
        if (replyCode(error) !== REPLY.notFound) throw error
      } finally {
        await browser.close().catch(() => undefined)
      }
    })
  }
}

function decode(message: GetMessage): GroupRecord | undefined {
  try {
    const { topic, group, layout } = JSON.parse(message.content.toString()) as Record<string, unknown>
    const parsed = parseLayout(typeof layout === 'string' ? layout : undefined)
    if (typeof topic !== 'string' || typeof group !== 'string' || parsed === undefined) return undefined
    return { topic, group, layout: parsed }
  } catch {
    return undefined
  }
}
