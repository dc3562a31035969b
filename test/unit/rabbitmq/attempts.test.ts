import { expect, test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import { AttemptNotes, noteKey } from '../../../src/transports/rabbitmq/consume/attempt-notes.ts'
import type { Note } from '../../../src/transports/rabbitmq/consume/attempt-notes.ts'
import { Attempts } from '../../../src/transports/rabbitmq/consume/attempts.ts'
import type { RabbitMqDelivery } from '../../../src/transports/rabbitmq/consume/delivery.ts'
import { Turns } from '../../../src/core/util/turns.ts'
import type { LiveConnection } from '../../../src/transports/rabbitmq/connection/live-connection.ts'
import type { SubscriptionContext } from '../../../src/transports/rabbitmq/consume/subscription-context.ts'
import { turn } from '../core/stage.ts'
import { encoded } from '../core/stub-transport.ts'

interface Member {
  readonly clock: ManualClock
  readonly attempts: Attempts
  /** Bodies of the notes, in the order in which they were sent. */
  readonly written: string[]
  /** What becomes of each of them. */
  storing: () => Promise<void>
  /** What the notes at the broker are, as often as they are read. */
  reading: () => Promise<readonly Note[]>
  live: LiveConnection | undefined
}

function member(): Member {
  const clock = manualClock()
  const written: string[] = []
  const notes = new AttemptNotes({
    clock,
    locks: { with: () => made.reading() } as never,
    publisher: {
      publishTo: async (_queue: unknown, body: Buffer) => {
        written.push(body.toString())
        await made.storing()
      },
    } as never,
    queueOf: () => 'notes',
    declare: () => Promise.resolve(),
  })
  const context: Partial<SubscriptionContext> = {
    clock,
    questions: new Turns(1),
    failed: () => undefined,
    live: () => made.live,
  }
  const attempts = new Attempts('me', notes, context as SubscriptionContext)
  const made: Member = {
    clock,
    attempts,
    written,
    storing: () => Promise.resolve(),
    reading: async () => [],
    live: undefined,
  }
  return made
}

function delivered(change: Partial<RabbitMqDelivery> = {}): RabbitMqDelivery {
  const known = { base: 0, attempt: 1, generation: 0, isKnown: true, isRedelivered: false, state: 'held' }
  return { message: encoded('a'), ...known, ...change } as RabbitMqDelivery
}

const LIVE = {} as LiveConnection
const refused = (): Promise<void> => Promise.reject(new Error('no leader'))

test('a channel is not closed before the broker has the notes about what goes back with it', async () => {
  const made = member()
  const { attempts, written } = made
  const stored = Promise.withResolvers<void>()
  made.storing = () => stored.promise
  const running = delivered()
  void attempts.note([{ delivery: running, used: 1, running: true, notBefore: undefined }])
  // A forced close releases it, and does not wait for the note; then the channel is to be closed.
  void attempts.returned([running])
  let mayClose = false
  const closing = attempts.returnedAll([running]).then(() => {
    mayClose = true
  })
  await turn()
  expect(mayClose).toBe(false)
  stored.resolve()
  await closing
  expect(written.at(-1)).toBe('[["orders.placed/a",0,0,"me",0]]')
  attempts.close()
})

test('a note that the broker did not take is written on the next connection, as long as it is true', async () => {
  const made = member()
  const { attempts, written } = made
  made.storing = refused
  const failed = delivered({ attempt: 2 })
  const over = delivered({ message: encoded('b'), attempt: 2 })
  for (const delivery of [failed, over])
    await attempts.note([{ delivery, used: 1, running: false, notBefore: undefined }]).catch(() => undefined)
  attempts.settled(over)
  attempts.lost([failed])
  await turn()
  made.storing = () => Promise.resolve()
  written.length = 0
  attempts.tellRest()
  await turn()
  expect(written).toEqual(['[["orders.placed/a",0,1,"me",0]]'])
  attempts.tellRest()
  await turn()
  expect(written).toHaveLength(1)
  attempts.close()
})

test('a note that the broker did not take although it is there is written again after two seconds', async () => {
  const made = member()
  const { attempts, clock, written } = made
  made.live = LIVE
  made.storing = refused
  const delivery = delivered({ attempt: 2 })
  await attempts.note([{ delivery, used: 1, running: false, notBefore: undefined }]).catch(() => undefined)
  made.storing = () => Promise.resolve()
  await clock.advance(2_000)
  expect(written).toEqual(['[["orders.placed/a",0,1,"me",0]]', '[["orders.placed/a",0,1,"me",0]]'])
  await clock.advance(10_000)
  expect(written).toHaveLength(2)
  attempts.close()
})

test('a message that comes again waits until the broker has what is known here about its last delivery', async () => {
  const made = member()
  const { attempts, clock, written } = made
  made.live = LIVE
  const stored = Promise.withResolvers<void>()
  made.storing = () => stored.promise
  const first = delivered({ attempt: 2 })
  void attempts.note([{ delivery: first, used: 1, running: false, notBefore: undefined }])
  await turn()
  attempts.lost([first])
  const again = delivered({ isRedelivered: true, count: 1 })
  let known = 0
  attempts.arrived(again, () => known++)
  await turn()
  await clock.advance(1_000)
  expect([again.isKnown, written]).toEqual([false, ['[["orders.placed/a",0,1,"me",0]]']])
  stored.resolve()
  await turn()
  await turn()
  expect([again.isKnown, again.attempt, again.history, known]).toEqual([true, 2, 'returned', 1])
  attempts.close()
})

test('it waits for no longer than two seconds, and not at all when the broker has everything', async () => {
  const made = member()
  const { attempts, clock } = made
  made.live = LIVE
  const first = delivered({ attempt: 2 })
  await attempts.note([{ delivery: first, used: 1, running: false, notBefore: undefined }])
  attempts.lost([first])
  const second = delivered({ isRedelivered: true, count: 1 })
  attempts.arrived(second, () => undefined)
  expect([second.isKnown, second.attempt]).toEqual([true, 2])
  made.storing = () => new Promise(() => {})
  void attempts.note([{ delivery: second, used: 2, running: false, notBefore: undefined }])
  second.attempt = 3
  await turn()
  attempts.lost([second])
  const third = delivered({ isRedelivered: true, count: 2 })
  attempts.arrived(third, () => undefined)
  await turn()
  await clock.advance(1_999)
  expect(third.isKnown).toBe(false)
  await clock.advance(1)
  await turn()
  expect([third.isKnown, third.attempt]).toEqual([true, 3])
  attempts.close()
})

test('notes that can not be read at first are read again, before a message counts from one', async () => {
  const made = member()
  const { attempts, clock } = made
  made.live = LIVE
  made.reading = () => Promise.reject(new Error('the channel ended'))
  const comes = delivered({ isRedelivered: true, count: 1 })
  attempts.arrived(comes, () => undefined)
  await turn()
  expect(comes.isKnown).toBe(false)
  const note: Note = {
    key: 'orders.placed/a',
    generation: 0,
    used: 2,
    by: 'other',
    running: false,
    notBefore: undefined,
  }
  made.reading = async () => [note]
  await clock.advance(100)
  await turn()
  expect([comes.isKnown, comes.attempt, comes.history]).toEqual([true, 3, 'returned'])
  made.reading = () => Promise.reject(new Error('the channel ended'))
  const other = delivered({ message: encoded('b'), isRedelivered: true, count: 1 })
  attempts.arrived(other, () => undefined)
  for (let ms = 0; ms < 600; ms += 100) {
    await turn()
    expect(other.isKnown).toBe(false)
    await clock.advance(100)
  }
  await turn()
  expect([other.isKnown, other.attempt, other.history]).toEqual([true, 1, 'unknown'])
  attempts.close()
})

test('a note is about a message of its topic: topics that share queues may use the same ids', () => {
  const [one, other] = ['orders.placed', 'orders.paid'].map((topic) =>
    noteKey(delivered({ message: encoded('order-1', { topic }) })),
  )
  expect(one).not.toBe(other)
})
