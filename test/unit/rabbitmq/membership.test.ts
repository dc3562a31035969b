import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import { sleep } from '../../../src/core/clock.ts'
import type { MemberChannel } from '../../../src/transports/rabbitmq/partitions/member-channel.ts'
import { Turns } from '../../../src/core/util/turns.ts'
import type { LiveConnection } from '../../../src/transports/rabbitmq/connection/live-connection.ts'
import { Membership } from '../../../src/transports/rabbitmq/partitions/membership.ts'
import { turn } from '../core/stage.ts'

/** The meeting point of a group with two members, `a` and `b`; the test is the broker and `b`. */
function meeting(topics?: { set: string; has: string[] }) {
  const clock = manualClock()
  const told: string[][] = []
  const errors: unknown[] = []
  const said: string[] = []
  /** Words for one process alone, with their addresses. */
  const answered: string[] = []
  /** Answers to the question how many others consume: until it resolves, the broker is slow. */
  let counted: Promise<number | undefined> = Promise.resolve(1)
  /** Each question to the broker waits for this. */
  let turnOf = (): Promise<void> => Promise.resolve()
  /** The broker confirms each word after this. */
  let confirmed = (): Promise<void> => Promise.resolve()
  const live = (): LiveConnection => ({ isOpen: true }) as LiveConnection
  const membership: Membership = new Membership({
    id: 'a',
    first: 'busbar:t:g',
    clock,
    channel: {
      enter: () => Promise.resolve({ address: 'a@here', leave: () => undefined }),
      say: (_first, content) => {
        said.push((JSON.parse(content.toString()) as string[])[0] ?? '')
        return confirmed()
      },
      answer: (address, content) => {
        answered.push(`${(JSON.parse(content.toString()) as string[])[0]} to ${address}`)
        return Promise.resolve()
      },
    } as Partial<MemberChannel> as MemberChannel,
    questions: { run: (ask) => turnOf().then(ask) } as Partial<Turns> as Turns,
    topics: topics && { set: () => topics.set, has: (topic) => topics.has.includes(topic) },
    hasOthers: () => counted.then((others) => (others === undefined ? undefined : others > 0)),
    onChange: (members) => void told.push([...members]),
    onLost: () => undefined,
    onError: (error) => void errors.push(error),
  })
  return {
    clock,
    membership,
    live,
    told,
    said,
    answered,
    errors,
    hear: (word: string, about?: string, id = 'b') =>
      membership.heard(Buffer.from(JSON.stringify([word, id, `${id}@there`, about]))),
    wait: (forTurn: () => Promise<void>) => {
      turnOf = forTurn
    },
    confirm: (confirming: () => Promise<void>) => {
      confirmed = confirming
    },
    count: (others: Promise<number | undefined>) => {
      counted = others
    },
  }
}

test('what a member hears before it has asked is not reported, and the answer always is', async () => {
  const { clock, membership, live, told, hear, count } = meeting()
  const slow = Promise.withResolvers<number>()
  count(slow.promise)
  const joined = membership.join(live())
  await clock.advance(0)
  hear('who')
  await clock.advance(1_500)
  assert.deepEqual(told, [])
  slow.resolve(1)
  await clock.advance(0)
  hear('here')
  await clock.advance(150)
  await joined
  assert.deepEqual(told, [['a', 'b']])
  await membership.leave()
})

test('a question from before a loss does not end the one of the next connection', async () => {
  const { clock, membership, live, told, said, hear } = meeting()
  const first = membership.join(live())
  await clock.advance(0)
  await membership.leave()
  await clock.advance(300)
  const second = membership.join(live())
  await clock.advance(200)
  assert.deepEqual(said, ['who', 'bye', 'who'])
  hear('here')
  await clock.advance(200)
  await Promise.all([first, second])
  assert.deepEqual(told, [['a', 'b']])
  await membership.leave()
})

test('a question that gets its count after a loss is not asked', async () => {
  const { clock, membership, live, told, hear, count } = meeting()
  const slow = Promise.withResolvers<number>()
  count(slow.promise)
  const first = membership.join(live()).catch(() => undefined)
  await clock.advance(0)
  await membership.leave()
  count(Promise.resolve(1))
  const second = membership.join(live())
  await clock.advance(0)
  slow.resolve(1)
  await clock.advance(0)
  hear('here')
  await clock.advance(400)
  await Promise.all([first, second])
  assert.deepEqual(told, [['a', 'b']])
  await membership.leave()
})

test('a group at rest is silent, and one that misses an answer asks again, less and less often', async () => {
  const { clock, membership, live, said, count } = meeting()
  const joined = membership.join(live())
  await clock.advance(400)
  await joined
  const asked = (): number => said.filter((word) => word === 'who').length
  assert.equal(asked(), 1)
  await clock.advance(120_000)
  assert.ok(asked() > 3 && asked() < 10, `${asked()} questions`)
  count(Promise.resolve(0))
  await clock.advance(61_000)
  const settled = asked()
  await clock.advance(600_000)
  assert.equal(asked(), settled)
  await membership.leave()
})

test('a member that consumes the first queue itself waits for the others, and takes silence for an answer', async () => {
  const { clock, membership, live, said, told, count } = meeting()
  count(Promise.resolve(undefined))
  const joined = membership.join(live())
  await clock.advance(399)
  assert.deepEqual(told, [])
  await clock.advance(1)
  await joined
  assert.deepEqual(told, [['a']])
  await clock.advance(600_000)
  assert.deepEqual(said, ['who'])
  await membership.leave()
})

test('a member whose turn to ask comes late, because its process has many groups, joins all the same', async () => {
  const { clock, membership, live, told, hear, wait } = meeting()
  wait(() => sleep(clock, 10_000))
  const joined = membership.join(live())
  await clock.advance(20_000)
  hear('here')
  await clock.advance(400)
  await joined
  assert.deepEqual(told, [['a', 'b']])
  await membership.leave()
})

test('a broker that does not answer is given up after three seconds', async () => {
  const { clock, membership, live, count } = meeting()
  count(new Promise(() => {}))
  const joined = assert.rejects(membership.join(live()), /did not answer within 3000 ms who else is in the group/)
  await clock.advance(3_000)
  await joined
})

test('the groups of a process ask no more than so many questions at once, in order', async () => {
  const questions = new Turns(16)
  const [begun, ends]: [number[], (() => void)[]] = [[], []]
  const all = Array.from({ length: 40 }, (_, group) =>
    questions.run(
      () =>
        new Promise<void>((resolve) => {
          begun.push(group)
          ends.push(resolve)
        }),
    ),
  )
  for (let most = 16; most <= 40; most++) {
    await turn()
    assert.deepEqual(
      begun,
      Array.from({ length: most }, (_, group) => group),
    )
    ends.shift()?.()
  }
  for (const end of ends) end()
  await Promise.all(all)
})

test('a question is answered to the one that asks, so that a join costs one answer for each member', async () => {
  const { clock, membership, live, said, answered, hear } = meeting()
  const joined = membership.join(live())
  await clock.advance(0)
  hear('here')
  await clock.advance(150)
  await joined
  for (const id of ['c', 'd', 'e']) hear('who', undefined, id)
  hear('ask', undefined, 'stranger')
  await turn()
  assert.deepEqual(said, ['who'])
  assert.deepEqual(answered, ['here to c@there', 'here to d@there', 'here to e@there', 'here to stranger@there'])
  await membership.leave()
})

test('where topics share queues, those with fewer topics stand by, and a change is told when it comes', async () => {
  const topics = { set: '1/100/aa', has: ['t'] }
  const { clock, membership, live, told, said, hear } = meeting(topics)
  const joined = membership.join(live())
  await clock.advance(0)
  hear('here', '2/200/bb')
  await clock.advance(150)
  await joined
  assert.deepEqual(told, [['b']])
  topics.set = '2/100/bb'
  membership.topicsChanged()
  membership.topicsChanged()
  assert.deepEqual(told, [['b'], ['a', 'b']])
  assert.deepEqual(said, ['who', 'here'])
  hear('here', '3/200/cc')
  assert.deepEqual(told.at(-1), ['b'])
  hear('bye')
  assert.deepEqual(told.at(-1), ['a'])
  await membership.leave()
})

test('a member finds out whether another one handles a topic, and says whether it does itself', async () => {
  const { clock, membership, live, answered, hear } = meeting({ set: '1/1/aa', has: ['mine'] })
  const joined = membership.join(live())
  await clock.advance(400)
  await joined
  const found = membership.find('theirs')
  await clock.advance(0)
  hear('found', 'another')
  hear('found', 'theirs')
  assert.equal(await found, true)
  const missing = membership.find('nobodys')
  await clock.advance(5_000)
  assert.equal(await missing, false)
  hear('find', 'mine')
  hear('find', 'theirs')
  assert.deepEqual(answered, ['found to b@there'])
  await membership.leave()
  await assert.rejects(membership.find('theirs'), /not among the others/)
})

test('the time to answer who handles a topic begins when the broker has taken the question', async () => {
  const { clock, membership, live, hear, confirm } = meeting({ set: '1/1/aa', has: [] })
  const joined = membership.join(live())
  await clock.advance(400)
  await joined
  confirm(() => sleep(clock, 2_900))
  const late = membership.find('theirs')
  await clock.advance(0)
  await clock.advance(2_900 + 4_900)
  hear('found', 'theirs')
  assert.equal(await late, true)
  const early = membership.find('theirs')
  await clock.advance(0)
  await clock.advance(100)
  hear('found', 'theirs')
  await clock.advance(2_800)
  assert.equal(await early, true)
  confirm(() => Promise.resolve())
  await membership.leave()
})

test('a question who handles a topic ends with the membership, and not as if nobody did', async () => {
  const { clock, membership, live, confirm } = meeting({ set: '1/1/aa', has: [] })
  const joined = membership.join(live())
  await clock.advance(400)
  await joined
  for (const confirmMs of [0, 2_000]) {
    confirm(() => sleep(clock, confirmMs))
    const lost = assert.rejects(membership.find('theirs'), /not among the others/)
    await clock.advance(1_000)
    confirm(() => Promise.resolve())
    await membership.leave()
    await clock.advance(1_000)
    await lost
    const again = membership.join(live())
    await clock.advance(400)
    await again
  }
  await membership.leave()
})
