import { setTimeout as delay } from 'node:timers/promises'

export interface WaitOptions {
  readonly timeoutMs: number
  readonly intervalMs?: number
}

/** Polls until `condition` returns something truthy; undefined when the deadline passes first. */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  options: WaitOptions,
): Promise<Exclude<T, false | undefined | null> | undefined> {
  const deadline = performance.now() + options.timeoutMs
  for (;;) {
    const value = await condition()
    if (value !== false && value !== undefined && value !== null) return value as Exclude<T, false | undefined | null>
    if (performance.now() >= deadline) return undefined
    await delay(options.intervalMs ?? 20)
  }
}
