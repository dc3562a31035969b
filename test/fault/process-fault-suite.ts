import assert from 'node:assert/strict'
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest'
import { createBus } from 'busbar'
import type { Bus, Transport } from 'busbar'
import { childConsumer, ledger, seededRandom, uniqueName, waitUntil } from 'busbar/testing'
import type { Child, ChildRecord, Ledger } from 'busbar/testing'
import type { Broker } from '../../tools/brokers/index.ts'
import { recordFault, toRow } from './fault-report.ts'
import { nothingLeft, pause } from './flow.ts'

/** What the suite has to know of a broker. */
export interface ProcessFaultSubject {
  readonly name: string
  readonly start: () => Promise<Broker>
  /** For the publisher. */
  readonly create: (at: { readonly host: string; readonly port: number }) => Transport
  /** A module with `create()`, for the consumers; with short leases. */
  readonly childModule: URL
  readonly childEnv: (broker: Broker) => Readonly<Record<string, string>>
  /** How long a member has to be frozen for its messages to go to others, in ms. */
  readonly freezeMs: number
}

const SOAK = process.env['BUSBAR_SOAK'] !== undefined
const KILLS = SOAK ? 20 : 5
/** Messages that are published between two kills. */
const STEP = 5_000
const KEYS = 50
const FROZEN_COUNT = 2_000
/** How long a member that dies again and again lives each time, in ms. */
const LIFE_MS = 500
/** Between two messages, in ms. */
const PACE_MS = 20
const CONSUMER = { concurrency: 8, prefetch: 64 } as const

/** Consumer processes that die or freeze, with exact accounting by id. */
export function processFaultSuite(subject: ProcessFaultSubject): void {
  describe(`${subject.name}: consumer processes that die or freeze`, () => {
    let broker: Broker
    let bus: Bus
    let topic: string
    let group: string
    let book: Ledger
    let published = 0
    let children: Child[] = []
    const handled = new Set<string>()
    const seen = new Map<Child, number>()

    beforeAll(async () => {
      broker = await subject.start()
    })
    afterEach(async () => {
      for (const child of children) await child[Symbol.asyncDispose]()
      await bus.close({ timeoutMs: 2_000 })
    })
    afterAll(() => broker.stop())

    async function begin(): Promise<void> {
      ;[topic, group, book, published, children] = [uniqueName('process'), uniqueName('group'), ledger(), 0, []]
      handled.clear()
      seen.clear()
      bus = createBus({
        service: 'publisher',
        transport: subject.create({ host: broker.host, port: broker.port }),
        publish: { deliveryTimeoutMs: 30_000 },
      })
      await bus.start()
    }

    async function join(handler: { workMs?: number } = {}): Promise<Child> {
      const { childModule: module } = subject
      const child = await childConsumer({
        module,
        env: subject.childEnv(broker),
        topic,
        options: { ...CONSUMER, group },
        handler,
      })
      children.push(child)
      return child
    }

    async function publish(count: number): Promise<void> {
      for (const until = published + count; published < until;) {
        const items = Array.from({ length: Math.min(500, until - published) }, (_, at) => {
          const number = published + at
          return { data: number, id: `${topic}-${number}`, key: `k${number % KEYS}` }
        })
        published += items.length
        const results = await bus.publishMany(topic, items, { allowFailures: true })
        for (const [at, { id, error }] of results.entries()) {
          assert.equal(error, undefined)
          book.published(id, 'confirmed', items[at]?.key)
        }
      }
    }

    /** How many distinct messages were handled by any child. Each record is looked at once. */
    const done = (): number => {
      for (const child of children) {
        const records = child.records()
        for (let at = seen.get(child) ?? 0; at < records.length; at++) {
          const { type, id } = records[at] as ChildRecord
          if (type === 'done') handled.add(id)
        }
        seen.set(child, records.length)
      }
      return handled.size
    }

    /** Waits for the rest and accounts for it: handlings of all children, in the order of their clocks. */
    async function judge(fault: string, explained: number): Promise<void> {
      await waitUntil(() => done() >= published, {
        timeoutMs: 120_000,
        describe: () => `${done()} of ${published} handled`,
      })
      await nothingLeft(bus, topic, group)
      const handlings = children.flatMap((child) => child.records().filter(({ type }) => type === 'done'))
      for (const { id } of handlings.toSorted((a, b) => a.at - b.at)) book.handled(id)
      const report = book.check({ duplicates: 'any' })
      const repeated = report.duplicates.reduce((total, { times }) => total + times - 1, 0)
      recordFault(subject.name, broker.version, toRow(fault, { ...report, repeated }, explained))
      assert.ok(repeated <= explained, `${repeated} were handled again, ${explained} can be explained`)
      const acked = children.flatMap((child) => child.ids('acked'))
      assert.equal(new Set(acked).size, acked.length, 'no message may be acked twice')
    }

    test(`SIGKILL at ${KILLS} random instants while ${KILLS * STEP} messages flow`, { timeout: 600_000 }, async () => {
      await begin()
      const random = seededRandom('kill')
      const alive = [await join(), await join()]
      for (let kill = 0; kill < KILLS; kill++) {
        const before = done()
        const publishing = publish(STEP)
        // Somewhere in the middle of what is published meanwhile.
        const enough = before + random.integer(100, STEP / 2)
        await waitUntil(() => done() >= enough, {
          timeoutMs: 60_000,
          describe: () => `${done()} of ${enough} handled, ${published} published`,
        })
        await alive.shift()?.killAtRandom(random, 50)
        alive.push(await join())
        await publishing
      }
      await judge(`consumer killed ${KILLS} times`, KILLS * CONSUMER.prefetch)
    })

    test(
      'a member frozen for longer than its lease wakes up: no key out of order, nothing acked twice',
      { timeout: 120_000 },
      async () => {
        await begin()
        const [frozen, successor] = [await join({ workMs: 10 }), await join({ workMs: 10 })]
        await publish(FROZEN_COUNT)
        await frozen.waitFor('done', 30)
        await successor.waitFor('done', 10)
        for (let round = 0; round < 2; round++) {
          frozen.freeze()
          await pause(subject.freezeMs)
          frozen.thaw()
          await pause(300)
        }
        await judge('consumer frozen twice', 2 * CONSUMER.prefetch)
      },
    )

    test(
      'a member that keeps dying soon after its start does not starve the others',
      { timeout: 180_000 },
      async () => {
        await begin()
        const sentAt = new Map<string, number>()
        await join()
        await join()
        // What a dead member had waits for its lease, once, and for those who have to notice its end.
        const longestWaitMs = 2 * subject.freezeMs
        const until = Date.now() + 2 * longestWaitMs
        let kills = 0
        const publishing = (async () => {
          while (Date.now() < until) {
            sentAt.set(`${topic}-${published}`, Date.now())
            await publish(1)
            await pause(PACE_MS)
          }
        })()
        while (Date.now() < until) {
          const child = await join()
          await pause(LIFE_MS)
          await child.kill()
          kills++
        }
        await publishing
        await judge('consumer that dies soon after each start', kills * CONSUMER.prefetch)
        const firstDone = new Map<string, number>()
        for (const { type, id, at } of children.flatMap((child) => child.records()))
          if (type === 'done' && at < (firstDone.get(id) ?? Infinity)) firstDone.set(id, at)
        const waits = [...sentAt].map(([id, at]) => (firstDone.get(id) ?? Infinity) - at)
        const longest = Math.max(...waits)
        assert.ok(longest < longestWaitMs, `a message waited for ${longest} ms; ${kills} members died`)
      },
    )
  })
}
