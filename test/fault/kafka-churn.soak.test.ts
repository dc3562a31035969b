// T04 of the acceptance cases: members of all kinds come and go twice a second, on three nodes.
import assert from 'node:assert/strict'
import { afterAll, afterEach, beforeAll, test } from 'vitest'
import { createBus } from 'busbar'
import type { Bus } from 'busbar'
import { kafka } from 'busbar/kafka'
import { createClient } from 'busbar/kafka/client'
import { childConsumer, ledger, seededRandom, uniqueName, waitUntil } from 'busbar/testing'
import type { Child } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { KafkaBroker } from '../../tools/brokers/index.ts'
import { QUICK, QUICK_PROPERTIES } from '../conformance/kafka-suite.ts'
import { addressesOf } from '../integration/kafka-broker.ts'
import { recordFault, toRow } from './fault-report.ts'
import { nothingLeft, pause } from './flow.ts'

const COUNT = Number(process.env['BUSBAR_KAFKA_CHURN'] ?? 100_000)
const PARTITIONS = 12
const KEYS = 240
const BATCH = 500
const EVERY_MS = 500
/** Members still come and go when nothing new is published. */
const QUIET_TURNS = 20
const FEWEST = 2
const MOST = 5
const CONSUMER = { concurrency: 16, prefetch: 64 } as const

interface Done {
  readonly id: string
  readonly at: number
}

interface Committed {
  readonly partition: number
  readonly offset: number
  readonly at: number
}

let broker: KafkaBroker
const buses: Bus[] = []
const children: Child[] = []

beforeAll(async () => {
  broker = await startPrivate('kafka', { nodes: 3, properties: QUICK_PROPERTIES })
}, 300_000)

afterEach(async () => {
  for (const child of children) await child[Symbol.asyncDispose]()
  await Promise.allSettled(buses.map((bus) => bus.close({ timeoutMs: 2_000 })))
}, 60_000)

afterAll(() => broker.stop())

test(
  `members join, leave and die every ${EVERY_MS} ms while ${COUNT} messages flow`,
  { timeout: 1_200_000 },
  async () => {
    const [topic, group, book, random] = [uniqueName('churn'), uniqueName('group'), ledger(), seededRandom('churn')]
    const transport = (): ReturnType<typeof kafka> => kafka({ ...QUICK, partitions: PARTITIONS, url: broker.url })
    const publisher = createBus({ service: 'publisher', transport: transport() })
    buses.push(publisher)
    await publisher.start()
    await publisher.admin().ensureTopic(topic)
    const places = new Map<string, { readonly partition: number; readonly offset: number }>()
    const done: Done[] = []

    async function publishAll(): Promise<void> {
      for (let from = 0; from < COUNT; from += BATCH) {
        const items = Array.from({ length: Math.min(BATCH, COUNT - from) }, (_, at) => {
          const number = from + at
          return { data: number, id: `${topic}-${number}`, key: `k${number % KEYS}` }
        })
        for (const [at, { id, position }] of (await publisher.publishMany(topic, items)).entries()) {
          book.published(id, 'confirmed', items[at]?.key)
          places.set(id, position as { readonly partition: number; readonly offset: number })
        }
      }
    }

    /** A member in this process. */
    async function joinHere(): Promise<() => Promise<void>> {
      const bus = createBus({ service: 'member', transport: transport() })
      buses.push(bus)
      bus.consume(
        topic,
        async ({ id }, { signal }) => {
          await pause(1)
          signal.throwIfAborted()
          done.push({ id, at: Date.now() })
        },
        { ...CONSUMER, group },
      )
      await bus.start()
      return () => bus.close()
    }

    let kills = 0
    /** A member that is killed when its turn comes to leave. */
    async function joinElsewhere(): Promise<() => Promise<void>> {
      const child = await childConsumer({
        module: new URL('../conformance/kafka-child.ts', import.meta.url),
        env: { BUSBAR_TEST_KAFKA: broker.url },
        topic,
        options: { ...CONSUMER, group },
        handler: { workMs: 1 },
        startTimeoutMs: 60_000,
      })
      children.push(child)
      return async () => {
        kills++
        await child.kill()
      }
    }

    const client = createClient({ brokers: addressesOf(broker) })
    const admin = client.admin()
    const committed: Committed[] = []
    const watching = new AbortController()
    async function watch(): Promise<void> {
      while (!watching.signal.aborted) {
        for (const { partition, offset } of await admin.offsets.list(group))
          committed.push({ partition, offset, at: Date.now() })
        await pause(EVERY_MS / 2)
      }
    }

    const leave = [await joinHere(), await joinElsewhere()]
    const turns: Promise<void>[] = []
    const failures: unknown[] = []
    let joining = 0
    const turn = async (): Promise<void> => {
      const members = leave.length + joining
      if (members > FEWEST && (members >= MOST || random.next() < 0.5)) return leave.shift()?.()
      joining++
      leave.push(await (random.next() < 0.5 ? joinHere() : joinElsewhere()))
      joining--
    }
    let quietTurns = 0
    const publishing = publishAll()
    const watched = watch()
    for (let isPublished = false; quietTurns < QUIET_TURNS; quietTurns += isPublished ? 1 : 0) {
      // The next one comes whatever this one waits for.
      turns.push(turn().catch((error: unknown) => void failures.push(error)))
      isPublished = (await Promise.race([publishing.then(() => true), pause(EVERY_MS)])) === true
      if (isPublished) await pause(EVERY_MS)
    }
    await Promise.all(turns)
    assert.deepEqual(failures, [])
    await publishing
    const all = (): readonly Done[] => [
      ...done,
      ...children.flatMap((child) => child.records().filter(({ type }) => type === 'done')),
    ]
    const handled = (): number => new Set(all().map(({ id }) => id)).size
    await waitUntil(() => handled() >= COUNT, {
      timeoutMs: 180_000,
      intervalMs: 500,
      describe: () => `${handled()} of ${COUNT} handled`,
    })
    await nothingLeft(publisher, topic, group)
    watching.abort()
    await watched
    const ends = await admin.records.offsets(topic, 'latest')
    await client.close()

    const inTime = all().toSorted((a, b) => a.at - b.at)
    for (const { id } of inTime) book.handled(id)
    const report = book.check({ duplicates: 'any' })
    const repeated = report.duplicates.reduce((total, { times }) => total + times - 1, 0)
    const explained = kills * CONSUMER.prefetch
    recordFault(
      'kafka-cluster',
      broker.version,
      toRow(`members come, go and die, ${kills} killed`, { ...report, repeated }, explained),
    )
    assert.ok(repeated <= explained, `${repeated} were handled again, ${explained} can be explained`)
    assert.deepEqual(beyondTheFinished(committed, places, inTime), [], 'commits past a message that was not finished')
    for (const { partition, offset } of committed)
      assert.ok(
        offset <= (ends.find((end) => end.partition === partition)?.offset ?? 0),
        'a commit past the end of the log',
      )
  },
)

/** Commits that were seen before everything below them was finished. */
function beyondTheFinished(
  committed: readonly Committed[],
  places: ReadonlyMap<string, { readonly partition: number; readonly offset: number }>,
  inTime: readonly Done[],
): readonly string[] {
  const finishedAt = new Map<string, number>()
  for (const { id, at } of inTime) if (!finishedAt.has(id)) finishedAt.set(id, at)
  const byOffset = new Map<number, number[]>()
  for (const [id, { partition, offset }] of places) {
    const times = byOffset.get(partition) ?? []
    byOffset.set(partition, times)
    times[offset] = finishedAt.get(id) ?? Infinity
  }
  /** By partition: when everything below each offset was finished. */
  const below = new Map([...byOffset].map(([partition, times]) => [partition, latestSoFar(times)]))
  return committed
    .filter(({ partition, offset, at }) => offset > 0 && (below.get(partition)?.[offset - 1] ?? Infinity) > at)
    .map(({ partition, offset, at }) => `${partition}/${offset} at ${at}`)
}

function latestSoFar(times: readonly number[]): readonly number[] {
  let latest = 0
  return times.map((at) => (latest = Math.max(latest, at)))
}
