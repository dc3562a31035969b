import { inspect } from 'node:util'
import { formatMs } from '../core/clock.ts'
import { TimeoutError } from '../core/errors.ts'

/** Options of `waitUntil`. */
export interface WaitOptions {
  /** In ms. Default 10,000. */
  readonly timeoutMs?: number | undefined
  /** Interval between checks, in ms. Default 5. */
  readonly intervalMs?: number | undefined
  /** What is waited for or, from a function called when time is up, how far it got: text, or any value. */
  readonly describe?: string | (() => unknown) | undefined
  /** Ends the wait by rejecting with its reason. */
  readonly signal?: AbortSignal | undefined
}

const DEFAULT_TIMEOUT_MS = 10_000
const DEFAULT_INTERVAL_MS = 5

/**
 * Checks repeatedly until `condition` returns something truthy, and resolves with that. Rejects with a `TimeoutError`
 * that shows the last state when time is up, and immediately when the condition throws. Use it in tests instead of a
 * sleep.
 */
export async function waitUntil<Value>(
  condition: () => Value | Promise<Value>,
  options: WaitOptions = {},
): Promise<NonNullable<Value>> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS
  const deadline = performance.now() + timeoutMs
  for (;;) {
    options.signal?.throwIfAborted()
    const value = await condition()
    if (value) return value
    const leftMs = deadline - performance.now()
    if (leftMs <= 0) throw new TimeoutError(`Timed out after ${formatMs(timeoutMs)}${told(options.describe)}`)
    await pause(Math.min(options.intervalMs ?? DEFAULT_INTERVAL_MS, leftMs))
  }
}

function told(describe: WaitOptions['describe']): string {
  if (describe === undefined) return ''
  if (typeof describe === 'string') return ` for ${describe}`
  const state = describe()
  return `; last state: ${typeof state === 'string' ? state : inspect(state, { depth: 4, breakLength: 120 })}`
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}
