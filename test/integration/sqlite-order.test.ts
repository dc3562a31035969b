import { expect, test } from 'vitest'
import type { Delivery, Outcome, Settlement } from '../../src/core/transport.ts'
import { seededRandom } from '../../src/testing/random.ts'
import type { Random } from '../../src/testing/random.ts'
import { waitUntil } from '../../src/testing/wait-until.ts'
import type { SqliteTransport } from '../../src/transports/sqlite/transport.ts'
import { many, newFile, open, outgoing, read, store } from './sqlite-harness.ts'
import type { Reader } from './sqlite-harness.ts'

/** What all members together must keep to: the messages of each key one at a time, in order, each done once. */
class Book {
  readonly problems: string[] = []
  readonly done = new Set<number>()
  readonly #order = new Map<string, number[]>()
  readonly #running = new Map<string, number>()
  readonly #delayed = new Set<number>()

  published(seq: number, key: string | undefined, delayed: boolean): void {
    if (delayed) this.#delayed.add(seq)
    else if (key !== undefined) this.#order.set(key, [...(this.#order.get(key) ?? []), seq])
  }

  started(seq: number, key: string | undefined): void {
    if (this.done.has(seq)) this.problems.push(`${seq} was done already`)
    if (key === undefined) return
    const other = this.#running.get(key)
    if (other !== undefined) this.problems.push(`${seq} of ${key} starts while ${other} runs`)
    this.#running.set(key, seq)
    if (this.#delayed.has(seq)) return
    const before = (this.#order.get(key) ?? []).find((one) => one < seq && !this.done.has(one))
    if (before !== undefined) this.problems.push(`${seq} of ${key} starts before ${before} is done`)
  }

  ended(seq: number, key: string | undefined, done: boolean): void {
    if (key !== undefined) this.#running.delete(key)
    if (done) this.done.add(seq)
  }
}

/** A consumer as the runtime is one, but shorter: one message of a key at a time, and none may pass one that failed. */
class Member {
  readonly #random: Random
  readonly #book: Book
  readonly #waiting = new Map<string, Delivery[]>()
  readonly #running = new Set<string>()
  readonly #returning = new Set<string>()
  readonly #keyOf: (delivery: Delivery) => string | undefined
  reader!: Reader

  constructor(random: Random, book: Book, keyOf: (delivery: Delivery) => string | undefined) {
    this.#random = random
    this.#book = book
    this.#keyOf = keyOf
  }

  receive(delivery: Delivery): void {
    const key = this.#keyOf(delivery)
    if (key === undefined) this.#start(delivery, key)
    else if (this.#returning.has(key)) this.#settle([{ delivery, outcome: { type: 'release', delayMs: 0 } }])
    else if (this.#running.has(key)) this.#waiting.set(key, [...(this.#waiting.get(key) ?? []), delivery])
    else this.#start(delivery, key)
  }

  #start(delivery: Delivery, key: string | undefined): void {
    const seq = Number(delivery.position['seq'])
    this.#book.started(seq, key)
    if (key !== undefined) this.#running.add(key)
    setTimeout(() => this.#end(delivery, seq, key), this.#random.integer(0, 3))
  }

  #end(delivery: Delivery, seq: number, key: string | undefined): void {
    const outcome = this.#outcome()
    const done = outcome.type === 'ack' || outcome.type === 'reject'
    this.#book.ended(seq, key, done)
    const behind = key === undefined ? [] : (this.#waiting.get(key) ?? [])
    if (key !== undefined) {
      this.#waiting.delete(key)
      this.#running.delete(key)
    }
    if (done) {
      this.#settle([{ delivery, outcome }])
      for (const later of behind) this.receive(later)
      return
    }
    if (key !== undefined) this.#returning.add(key)
    const batch: Settlement[] = [delivery, ...behind].map((one, index) => ({
      delivery: one,
      outcome: index === 0 ? outcome : { type: 'release', delayMs: 0 },
    }))
    this.#settle(batch, key)
  }

  #outcome(): Outcome {
    const delayMs = this.#random.chance(0.5) ? 0 : this.#random.integer(1, 20)
    if (this.#random.chance(0.15)) return { type: 'nack', delayMs }
    if (this.#random.chance(0.1)) return { type: 'release', delayMs }
    return this.#random.chance(0.05) ? { type: 'reject', deadLetter: undefined } : { type: 'ack' }
  }

  #settle(batch: readonly Settlement[], returning?: string): void {
    const bytes = batch.reduce((sum, { delivery }) => sum + delivery.bytes, 0)
    this.reader.subscription.settle(batch).then(
      (failures) => {
        if (returning !== undefined) this.#returning.delete(returning)
        for (const { error } of failures) this.#book.problems.push(error.message)
      },
      (error: unknown) => this.#book.problems.push(String(error)),
    )
    this.reader.request(batch.length, bytes)
  }
}

interface Plan {
  readonly keys: number
  readonly prefetch: number
  readonly order: 'key' | 'strict'
  readonly members: number
  readonly count: number
}

async function run(seed: string, plan: Plan): Promise<void> {
  const random = seededRandom(seed)
  const path = newFile()
  const book = new Book()
  const transports: SqliteTransport[] = []
  for (let index = 0; index < Math.min(2, plan.members); index++)
    // The look after keys that stand still comes with each third of a lease: too late to hide one here.
    transports.push((await open(path, { leaseMs: 300_000 })).transport)
  const keyOf = (delivery: Delivery): string | undefined => (plan.order === 'strict' ? '' : delivery.message.key)
  for (let index = 0; index < plan.members; index++) {
    const member = new Member(random, book, keyOf)
    const transport = transports[index % transports.length]!
    member.reader = await read(transport, 'a', 'g', { order: plan.order }, (delivery) => member.receive(delivery))
    member.reader.request(plan.prefetch)
  }
  let published = 0
  while (published < plan.count) {
    const size = Math.min(plan.count - published, random.integer(1, 60))
    const batch = many(size, 'a', () => ({
      key: random.chance(0.9) ? `k${random.integer(0, plan.keys - 1)}` : undefined,
      deliverAt: random.chance(0.05) ? Date.now() + random.integer(1, 60) : undefined,
    }))
    // Noted before they can be delivered: this file has no other publisher, so the next seqs are known.
    for (const [index, message] of batch.entries()) {
      const key = plan.order === 'strict' ? '' : message.key
      book.published(published + index + 1, key, message.deliverAt !== undefined)
    }
    const seqs = await store(transports[0]!, batch)
    expect(seqs[0]).toBe(published + 1)
    published += size
  }
  await waitUntil(() => book.done.size === plan.count || book.problems.length > 0, {
    timeoutMs: 15_000,
    describe: () => `${book.done.size} of ${plan.count} done`,
  })
  expect(book.problems).toEqual([])
  await waitUntil(async () => (await transports[0]!.admin.groups('a'))[0]?.lag === 0)
}

const plans: Record<string, Plan> = {
  'few keys, four members': { keys: 5, prefetch: 16, order: 'key', members: 4, count: 1_000 },
  'one key': { keys: 1, prefetch: 10, order: 'key', members: 3, count: 300 },
  'many keys, little credit': { keys: 50, prefetch: 3, order: 'key', members: 4, count: 1_000 },
  'many keys, much credit': { keys: 50, prefetch: 500, order: 'key', members: 3, count: 1_500 },
  strict: { keys: 5, prefetch: 8, order: 'strict', members: 3, count: 250 },
}

for (const [name, plan] of Object.entries(plans)) {
  for (const seed of [process.env['BUSBAR_TEST_SEED'] ?? 'one', 'two']) {
    test(`order holds over members and files, whatever becomes of the messages: ${name} (seed ${seed})`, async () => {
      await run(`${name}/${seed}`, plan)
    }, 60_000)
  }
}

test('one hot key does not keep other members from the messages of other keys', async () => {
  const path = newFile()
  const [one, two] = [await open(path), await open(path)]
  await store(one.transport, [outgoing('a', { key: 'hot' })])
  const stuck = await read(one.transport, 'a', 'g')
  stuck.request(1)
  const [first] = await stuck.take(1)
  await store(
    one.transport,
    many(1_500, 'a', () => ({ key: 'hot' })),
  )
  await store(
    one.transport,
    many(20, 'a', (index) => ({ key: `other-${index}` })),
  )
  const other = await read(two.transport, 'a', 'g')
  other.request(100)
  await other.take(20)
  expect(other.received.every(({ message }) => message.key !== 'hot')).toBe(true)
  await other.ack(...other.received)
  // As soon as the key is free, its backlog goes to whoever has room.
  await stuck.ack(first!)
  await other.take(21)
  expect(other.received[20]!.message.key).toBe('hot')
})
