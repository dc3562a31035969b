import type { GetMessage } from 'amqplib'
import type { Clock } from '../../../core/clock.ts'
import type { BrokerLocks } from '../admin/broker-lock.ts'
import { QueueBrowser } from '../admin/queue-browser.ts'
import { REPLY, replyCode } from '../errors.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import { deadKeyOf, findDeadKey } from './group-layout.ts'
import type { GroupLayout } from './group-layout.ts'
import type { GroupRecord } from './known-groups.ts'
import type { Names } from './names.ts'

/** Maximum number of records read at once; far more groups than one exchange has. */
const MOST = 50_000

/**
 * The list of groups on the broker, whether they have members or not. AMQP can't list queues, so every group leaves a
 * message in a queue of the bus when it is first declared.
 */
export class GroupRegistry {
  readonly #clock: Clock
  readonly #locks: BrokerLocks
  readonly #names: Names

  constructor(clock: Clock, locks: BrokerLocks, names: Names) {
    this.#clock = clock
    this.#locks = locks
    this.#names = names
  }

  encode(topic: string, group: string, layout: GroupLayout): Buffer {
    return Buffer.from(JSON.stringify([topic, deadKeyOf(layout, group)]))
  }

  async list(live: LiveConnection): Promise<readonly GroupRecord[]> {
    const found: GroupRecord[] = []
    await this.#browse(live, (record) => {
      found.push(record)
      return false
    })
    return found
  }

  async remove(live: LiveConnection, topic: string, group: string): Promise<void> {
    await this.#browse(live, (record) => record.topic === topic && record.group === group)
  }

  async #browse(live: LiveConnection, isToRemove: (record: GroupRecord) => boolean): Promise<void> {
    const queue = this.#names.groups
    await this.#locks.with(live, queue, async () => {
      const browser = await QueueBrowser.open(this.#clock, live, queue)
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
    const [topic, key] = JSON.parse(message.content.toString()) as readonly unknown[]
    const found = typeof key === 'string' ? findDeadKey(key) : undefined
    return typeof topic === 'string' && found !== undefined
      ? { topic, group: found.group, layout: found.layout }
      : undefined
  } catch {
    return undefined
  }
}
