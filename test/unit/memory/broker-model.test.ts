import { expect, it } from 'vitest'
import { manualClock, seededRandom } from 'busbar/testing'
import { memoryBroker } from 'busbar/memory'
import type { OutgoingMessage } from 'busbar'
import type { Delivery, TransportSubscription } from 'busbar/transport'
import { encoded } from '../core/stub-transport.ts'

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
}

function message(id: number, key: string | undefined, deliverAt?: number): OutgoingMessage {
  return { ...encoded(String(id), { topic: 't', key }), deliverAt, group: undefined }
}

interface Member {
  readonly subscription: TransportSubscription
  readonly held: Set<Delivery>
  credit: number
}

/**
 * Plays a random, repeatable life of one group: members come and go, messages of few keys arrive, some with a delay, and are
 * acked, nacked, released and rejected in any order. After every step the rules of the contract must hold.
 */
async function play(seed: number): Promise<void> {
  const random = seededRandom(seed)
  const clock = manualClock()
  const broker = memoryBroker({ clock })
  const members: Member[] = []
  const done: number[] = []
  const attempts = new Map<number, number>()
  let made = 0

  const join = (): void => {
    const held = new Set<Delivery>()
    const member: Member = {
      held,
      credit: 0,
      subscription: broker.subscribe(
        {
          topic: 't',
          group: 'g',
          order: 'key',
          ephemeral: false,
          from: 'earliest',
          prefetch: 10,
          prefetchBytes: 1e6,
          maxPerKey: Number.MAX_SAFE_INTEGER,
          consumerId: `m${members.length}`,
        },
        {
          receive: (batch) => {
            for (const delivery of batch) {
              held.add(delivery)
              member.credit--
              const { key } = delivery.message
              const others = members.filter((other) => other !== member).flatMap((other) => [...other.held])
              expect(
                others.some((other) => key !== undefined && other.message.key === key),
                `seed ${seed}: key ${key} at two members`,
              ).toBe(false)
              if (delayed.has(Number(delivery.message.id))) continue
              const overtaken = [...published].filter(
                ([id, its]) =>
                  its === key &&
                  key !== undefined &&
                  id < Number(delivery.message.id) &&
                  !done.includes(id) &&
                  !delayed.has(id),
              )
              const mine = overtaken.every(([id]) => [...held].some((other) => Number(other.message.id) === id))
              expect(mine, `seed ${seed}: ${delivery.message.id} overtook ${overtaken.map(([id]) => id).join()}`).toBe(
                true,
              )
            }
            expect(member.credit, `seed ${seed}: more than was asked for`).toBeGreaterThanOrEqual(0)
          },
          lost: () => expect.fail('nothing is ever taken back here'),
          recall: () => {},
        },
      ),
    }
    members.push(member)
  }
  const published = new Map<number, string | undefined>()
  const delayed = new Set<number>()
  const settle = async (member: Member, type: 'ack' | 'nack' | 'release' | 'reject'): Promise<void> => {
    const delivery = [...member.held][random.integer(0, member.held.size - 1)]
    if (delivery === undefined) return
    const { key, id } = delivery.message
    // As the runtime does it: within a key the oldest first, and what waits behind a nack goes back with it.
    const lane = key === undefined ? [delivery] : [...member.held].filter((other) => other.message.key === key)
    const first = lane[0] as Delivery
    const batch = type === 'nack' || type === 'release' ? lane : [first]
    const outcome =
      type === 'reject'
        ? ({ type, deadLetter: undefined } as const)
        : type === 'ack'
          ? ({ type } as const)
          : ({ type, delayMs: random.integer(0, 50) } as const)
    for (const each of batch) member.held.delete(each)
    const before = attempts.get(Number(first.message.id)) ?? 0
    expect(first.attempt, `seed ${seed}: attempts of ${id}`).toBe(before + 1)
    if (type === 'nack') attempts.set(Number(first.message.id), before + 1)
    if (type === 'ack' || type === 'reject') done.push(Number(first.message.id))
    const failures = await member.subscription.settle(
      batch.map((each, index) => ({
        delivery: each,
        outcome: index === 0 ? outcome : { type: 'release', delayMs: 0 },
      })),
    )
    expect(failures).toEqual([])
    // A second settle of the same one is refused.
    expect(await member.subscription.settle([{ delivery: first, outcome: { type: 'ack' } }])).toHaveLength(1)
  }

  join()
  for (let step = 0; step < 250; step++) {
    const dice = random.integer(0, 99)
    const member = members.length === 0 ? undefined : random.pick(members)
    if (dice < 35) {
      const key = random.chance(0.2) ? undefined : `k${random.integer(0, 2)}`
      const wait = random.chance(0.1) ? clock.now() + random.integer(1, 100) : undefined
      if (wait !== undefined) delayed.add(made)
      published.set(made, key)
      if (broker.append(message(made++, key, wait), clock.now()) === undefined) expect.fail('there is room')
      broker.appended()
    } else if (dice < 50 && member !== undefined) {
      const credit = random.integer(1, 6)
      member.credit += credit
      member.subscription.request(credit, 1e6)
    } else if (dice < 80 && member !== undefined)
      await settle(member, random.pick(['ack', 'ack', 'ack', 'nack', 'release', 'reject']))
    else if (dice < 85 && members.length < 4) join()
    else if (dice < 88 && member !== undefined) {
      // What a member leaves behind comes back without having used an attempt.
      members.splice(members.indexOf(member), 1)
      await member.subscription.close()
      expect([...member.held].every((delivery) => delivery.lost)).toBe(true)
    } else await clock.advance(random.integer(0, 40))
    await turn()
  }
  // In the end everything must come out, whoever had it.
  if (members.length === 0) join()
  for (let round = 0; done.length < made && round < 5_000; round++) {
    for (const member of members) {
      member.credit += 5
      member.subscription.request(5, 1e6)
      await turn()
      while (member.held.size > 0) await settle(member, 'ack')
    }
    await clock.advance(20)
    await turn()
  }
  expect(
    done.toSorted((a, b) => a - b),
    `seed ${seed}: each message ends exactly once`,
  ).toEqual([...Array(made).keys()])
}

it('keeps order, hands out within credit, counts attempts and loses nothing in 150 random lives', async () => {
  for (let seed = 1; seed <= 150; seed++) await play(seed)
}, 60_000)
