import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { ControlPublisher } from '../../../src/transports/rabbitmq/control-publisher.ts'
import type { Session } from '../../../src/transports/rabbitmq/link.ts'
import { Membership } from '../../../src/transports/rabbitmq/membership.ts'

/** The meeting point of a group with two members, `a` and `b`; the test is the broker and `b`. */
function meeting() {
  const clock = manualClock()
  const told: string[][] = []
  const errors: unknown[] = []
  const said: string[] = []
  let hear: (content: Buffer) => void = () => undefined
  /** Answers to the question how many members are counted: until it resolves, the broker is slow. */
  let counted: Promise<number> = Promise.resolve(2)
  const session = (): Session => {
    const channel = (): object =>
      Object.assign(new EventEmitter(), {
        close: () => Promise.resolve(),
        assertExchange: () => Promise.resolve(),
        assertQueue: () => Promise.resolve(),
        bindQueue: () => Promise.resolve(),
        checkQueue: () => counted.then((consumerCount) => ({ consumerCount })),
        consume: (queue: string, listener: (message: { content: Buffer }) => void) => {
          if (queue.startsWith('line')) hear = (content) => listener({ content })
          return Promise.resolve()
        },
      })
    return { epoch: 1, isOpen: true, channel: () => Promise.resolve(channel()) } as unknown as Session
  }
  const membership = new Membership({
    id: 'a',
    nameOf: (place) => `members:${place}`,
    lineOf: (epoch) => `line:${epoch}`,
    clock,
    publisher: {
      publish: (_exchange, _key, content) => {
        said.push((JSON.parse(content.toString()) as string[])[0] ?? '')
        return Promise.resolve()
      },
    } as Partial<ControlPublisher> as ControlPublisher,
    onChange: (members) => void told.push([...members]),
    onLost: () => undefined,
    onError: (error) => void errors.push(error),
  })
  return {
    clock,
    membership,
    session,
    told,
    said,
    errors,
    hear: (word: string) => hear(Buffer.from(JSON.stringify([word, 'b', 0]))),
    count: (members: Promise<number>) => {
      counted = members
    },
  }
}

test('what a member hears before it has asked is not reported, and the answer always is', async () => {
  const { clock, membership, session, told, hear, count } = meeting()
  const slow = Promise.withResolvers<number>()
  count(slow.promise)
  const joined = membership.join(session())
  await clock.advance(0)
  hear('who')
  await clock.advance(1_500)
  assert.deepEqual(told, [])
  slow.resolve(2)
  await clock.advance(0)
  hear('here')
  await joined
  assert.deepEqual(told, [['a', 'b']])
  await membership.leave()
})

test('a question from before a loss does not end the one of the next connection', async () => {
  const { clock, membership, session, told, said, hear } = meeting()
  const first = membership.join(session())
  await clock.advance(0)
  await membership.leave()
  await clock.advance(300)
  const second = membership.join(session())
  await clock.advance(200)
  assert.deepEqual(said, ['who', 'bye', 'who'])
  hear('here')
  await clock.advance(200)
  await Promise.all([first, second])
  assert.deepEqual(told, [['a', 'b']])
  await membership.leave()
})

test('a question that gets its count after a loss is not asked', async () => {
  const { clock, membership, session, told, hear, count } = meeting()
  const slow = Promise.withResolvers<number>()
  count(slow.promise)
  const first = membership.join(session()).catch(() => undefined)
  await clock.advance(0)
  await membership.leave()
  count(Promise.resolve(2))
  const second = membership.join(session())
  await clock.advance(0)
  slow.resolve(2)
  await clock.advance(0)
  hear('here')
  await clock.advance(400)
  await Promise.all([first, second])
  assert.deepEqual(told, [['a', 'b']])
  await membership.leave()
})
