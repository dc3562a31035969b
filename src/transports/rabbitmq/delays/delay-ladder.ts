import { declareQueue } from '../topology/declare-channel.ts'
import type { DeclareChannel, Drift } from '../topology/declare-channel.ts'
import { declareQueuesExchange } from '../topology/exchanges.ts'
import type { QueueArguments } from '../topology/group-topology.ts'
import type { Names } from '../topology/names.ts'
import { COPY, OF_DEAD_LETTERS, rungHeader } from '../wire/wire-headers.ts'

/** Time on the lowest rung, in ms. Each rung above takes twice as long. */
const UNIT_MS = 16
const RUNGS = 28

/** The longest delay that the ladder supports, in ms: about 49 days. */
export const MAX_DELAY_MS: number = UNIT_MS * (2 ** RUNGS - 1)

/** A retry need not be exact, and each rung costs the broker a write: round to this many of the highest bits. */
const RETRY_BITS = 4

/**
 * The rungs that make up a delay, as bits; rounded up, never down. With `roughly`, to at most four rungs and up to an
 * eighth longer.
 */
export function rungsOf(delayMs: number, roughly: boolean): number {
  const units = Math.min(Math.ceil(delayMs / UNIT_MS), 2 ** RUNGS - 1)
  if (!roughly) return units
  const step = 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, units))) + 1 - RETRY_BITS)
  return Math.min(Math.ceil(units / step) * step, 2 ** RUNGS - 1)
}

const VITAL = ['x-message-ttl', 'x-dead-letter-exchange', 'durable']

/** The rung on which a message begins. */
export function topRung(rungs: number): number {
  return 31 - Math.clz32(rungs)
}

/**
 * Declares the rungs up to `top`, and the exchanges where they end.
 *
 * Each rung is a queue that keeps every message for the same time, so that none waits behind a longer one, and passes
 * it to the rung below by dead-lettering. In front of each rung, an exchange takes the messages whose headers name the
 * rung, and passes the others down to the next one. A message enters at its highest rung and so rests on exactly the
 * rungs that its headers name: any delay with some two dozen queues.
 *
 * Its exchange makes a rung reachable, for all processes: it is declared when the broker has settled with the new queues.
 */
export async function declareLadder(
  declaring: DeclareChannel,
  names: Names,
  storage: QueueArguments,
  from: number,
  top: number,
  settled: () => Promise<void>,
): Promise<readonly Drift[]> {
  const isNew = !(await declaring.exists((channel) => channel.checkExchange(names.delay(top))))
  const drifts: Drift[] = from === 0 ? [...(await declareDue(declaring, names, storage))] : []
  const nextOf = (level: number): string => (level === 0 ? names.due : names.delay(level - 1))
  for (let level = from; level <= top; level++) {
    const args = rungArguments(storage, UNIT_MS * 2 ** level, nextOf(level))
    // A rung that keeps its messages for another time, or passes them elsewhere, can't be used.
    drifts.push(...(await declareQueue(declaring, names.delay(level), { durable: true, arguments: args }, VITAL)))
  }
  if (isNew) await settled()
  for (let level = from; level <= top; level++) {
    const name = names.delay(level)
    await declaring.run(async (channel) => {
      await channel.assertExchange(name, 'headers', { durable: true, alternateExchange: nextOf(level) })
      await channel.bindQueue(name, name, '', { 'x-match': 'all', [rungHeader(level)]: true })
    })
  }
  return drifts
}

/**
 * Where delays end: a copy goes to the queue that its routing key names, everything else to the exchange that it was
 * published to. What no queue takes is kept.
 */
export async function declareDue(
  declaring: DeclareChannel,
  names: Names,
  storage: QueueArguments,
): Promise<readonly Drift[]> {
  const wasDelayed = Object.fromEntries(Array.from({ length: RUNGS }, (_, level) => [rungHeader(level), true]))
  const drifts = await declareQueue(declaring, names.unrouted, { durable: true, arguments: storage }, [])
  await declareQueuesExchange(declaring, names)
  await declaring.run(async (channel) => {
    await Promise.all([
      channel.assertExchange(names.unrouted, 'headers', { durable: true }),
      channel.assertExchange(names.due, 'headers', { durable: true, alternateExchange: names.main }),
      channel.bindQueue(names.unrouted, names.unrouted, '', { 'x-match': 'any', ...wasDelayed }),
      channel.bindExchange(names.queues, names.due, '', { 'x-match': 'all', [COPY]: true }),
      channel.bindExchange(names.system, names.due, '', { 'x-match': 'all', [OF_DEAD_LETTERS]: true }),
    ])
  })
  return drifts
}

function rungArguments(storage: QueueArguments, ttlMs: number, next: string): QueueArguments {
  return {
    ...storage,
    'x-message-ttl': ttlMs,
    'x-dead-letter-exchange': next,
    // Confirmed from queue to queue, so that the death of a node loses nothing in transit.
    ...(storage['x-queue-type'] === 'quorum'
      ? { 'x-dead-letter-strategy': 'at-least-once', 'x-overflow': 'reject-publish' }
      : {}),
  }
}
