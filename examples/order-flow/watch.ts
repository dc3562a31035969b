import { setTimeout as sleep } from 'node:timers/promises'
import type { Bus } from 'busbar'
import type { Audit } from './audit.ts'
import { findDeadLetters } from './dead-letters.ts'
import { TOPICS } from './events.ts'
import { services } from './services/index.ts'
import type { View } from './view.ts'
import type { Workers } from './workers.ts'

const LOOK_EVERY_MS = 20
/** The broker is asked less often than the databases. */
const ASK_EVERY_MS = 250
const STUCK_AFTER_MS = 60_000

export interface WatchOptions {
  readonly bus: Bus
  readonly audit: Audit
  readonly workers: Workers
  readonly view: View
  readonly run: string
  readonly total: number
  readonly placed: ReadonlySet<string>
  readonly startedAt: number
  readonly signal: AbortSignal
}

export interface Standing {
  /** Orders that were shipped or cancelled. */
  readonly ended: number
  /** How many of their customers have been notified. */
  readonly notified: number
  /** Orders in the dead letters. */
  readonly dead: number
}

/**
 * Shows the progress until `done` returns true. Resolves with false when there was no progress for a minute. Rejects when the
 * signal aborts.
 */
export type Watch = (done: (standing: Standing) => boolean) => Promise<boolean>

export function createWatch(options: WatchOptions): Watch {
  const { bus, audit, workers, view, run, total, placed, startedAt, signal } = options

  async function countDead(): Promise<number> {
    const letters = await findDeadLetters(bus, run)
    return new Set(letters.map((found) => found.orderId).filter((orderId) => !audit.hasEnded(orderId))).size
  }

  return async (done) => {
    let dead = 0
    let lag = new Map<string, number | undefined>()
    let askAt = 0
    let movedAt = performance.now()
    let seen = ''
    for (;;) {
      signal.throwIfAborted()
      const now = performance.now()
      // Read before the dead letters: an order that ends in between is counted the next time, and never twice.
      const { shipped, cancelled, notified } = audit.progress()
      if (now >= askAt) {
        dead = await countDead()
        lag = await lagOf(bus)
        askAt = performance.now() + ASK_EVERY_MS
      }
      const { retried, duplicates, acked } = workers.totals()
      const published = placed.size
      const isDone = done({ ended: shipped + cancelled, notified, dead })
      if (isDone) lag = await lagOf(bus)
      const elapsedMs = performance.now() - startedAt
      view.update({ elapsedMs, total, published, shipped, cancelled, deadLettered: dead, retried, duplicates, lag })
      if (isDone) return true

      const state = [published, shipped, cancelled, notified, dead, acked].join()
      if (state !== seen) movedAt = now
      seen = state
      if (now - movedAt > STUCK_AFTER_MS) return false
      await sleep(LOOK_EVERY_MS, undefined, { signal })
    }
  }
}

/** Number of messages waiting for each service, over all its topics. */
async function lagOf(bus: Bus): Promise<Map<string, number | undefined>> {
  const groups = await bus.admin().groups()
  const ours = groups.filter((info) => info.topic.startsWith(`${TOPICS}.`))
  return new Map(
    services.map(({ name }) => {
      const lags = ours.filter((info) => info.group === name).map((info) => info.lag)
      return [name, lags.includes(undefined) ? undefined : lags.reduce((sum: number, lag) => sum + (lag ?? 0), 0)]
    }),
  )
}
