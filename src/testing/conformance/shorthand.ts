import type { Bus } from '../../core/bus-types.ts'
import type { RetryOptions } from '../../core/consume/consume-options.ts'
import type { PublishItem } from '../../core/publish/publish-options.ts'
import assert from 'node:assert/strict'

/** Retries short enough for a test. */
export function quick(attempts: number, baseMs = 10): RetryOptions {
  return { attempts, backoff: 'fixed', baseMs }
}

/** Publishes all items, asserts that all were confirmed, and returns their ids in order. */
export async function publishAll(bus: Bus, topic: string, items: readonly PublishItem[]): Promise<string[]> {
  const results = await bus.publishMany(topic, items)
  assert.equal(results.length, items.length, 'one result for each item')
  return results.map(({ id }) => id)
}

/** `count` items with numbers as data, spread over `keys` keys in turn (0: no key). */
export function numbered(count: number, keys = 0, more: Omit<PublishItem, 'data' | 'key'> = {}): PublishItem[] {
  return Array.from({ length: count }, (_, number) => ({
    ...more,
    data: number,
    key: keys === 0 ? undefined : `k${number % keys}`,
  }))
}

/** Ids of one key, in the order of publication, given the ids of `numbered(count, keys)`. */
export function idsOfKey(ids: readonly string[], keys: number, key: number): string[] {
  return ids.filter((_, index) => index % keys === key)
}

/** Waits without blocking the event loop; for work that a handler pretends to do, never to synchronize. */
export function work(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}

/** How long scenarios freeze a process: longer than a lease that a test would choose. */
export const FREEZE_MS = 2_500

/** What a scenario's handlers throw on purpose. */
export class Planned extends Error {
  constructor(detail: string) {
    super(`planned: ${detail}`)
    this.name = 'Planned'
  }
}

/** Asserts that both lists contain the same ids, equally often, in any order. */
export function assertSame(
  actual: readonly (string | undefined)[],
  expected: readonly (string | undefined)[],
  message?: string,
): void {
  assert.deepEqual(actual.map(String).sort(), expected.map(String).sort(), message)
}
