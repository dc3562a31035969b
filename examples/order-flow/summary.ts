import type { FlowResult } from './flow.ts'
import { count, plural } from './format.ts'

/** What `--json` prints. */
export interface Summary {
  readonly transport: string
  readonly placed: number
  readonly shipped: number
  readonly cancelled: number
  readonly deadLettered: number
  readonly redriven: number
  readonly missing: number
  readonly shippedTwice: number
  readonly killed: number
  readonly elapsedMs: number
  readonly ordersPerSecond: number
}

export function summarize(transport: string, result: FlowResult): Summary {
  const { placed, shipped, cancelled, deadLettered, redriven, killed, elapsedMs } = result
  return {
    transport,
    placed,
    shipped,
    cancelled,
    deadLettered,
    redriven,
    missing: result.missing.length,
    shippedTwice: result.shippedTwice.length,
    killed,
    elapsedMs,
    ordersPerSecond: Math.round(placed / (Math.max(1, elapsedMs) / 1_000)),
  }
}

/** The last lines for people. */
export function explain(result: FlowResult): string {
  const { placed, shipped, cancelled, deadLettered, missing, shippedTwice, redriven, elapsedMs } = result
  const seconds = (elapsedMs / 1_000).toFixed(1)
  return [
    '',
    `${plural(placed, 'order')} placed = ${count(shipped)} shipped + ${count(cancelled)} cancelled + ${count(deadLettered)} dead-lettered` +
      (missing.length === 0 ? '' : ` + ${count(missing.length)} MISSING`),
    missing.length === 0 ? 'None is missing.' : `Missing: ${some(missing)}`,
    shippedTwice.length === 0 ? 'None was shipped twice.' : `SHIPPED TWICE: ${some(shippedTwice)}`,
    `${plural(redriven, 'dead letter')} redriven. ${seconds} s, ${count(Math.round(placed / (elapsedMs / 1_000)))} orders/s.`,
    '',
  ].join('\n')
}

function some(ids: readonly string[]): string {
  return ids.length <= 10 ? ids.join(', ') : `${ids.slice(0, 10).join(', ')} and ${count(ids.length - 10)} more`
}
