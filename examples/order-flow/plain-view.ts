import { clock, count } from './format.ts'
import { createRate } from './rate.ts'
import type { Output, Snapshot, View } from './view.ts'

const EVERY_MS = 1_000

/** Writes a line each second: for log files, pipes and CI. */
export function plainView(title: string, output: Output): View {
  const rate = createRate()
  let nextAt = EVERY_MS
  let last: Snapshot | undefined
  let shown: Snapshot | undefined

  function show(snapshot: Snapshot): void {
    shown = snapshot
    const ended = snapshot.shipped + snapshot.cancelled
    const lag = [...snapshot.lag].map(
      ([group, messages]) => `${group} ${messages === undefined ? '?' : count(messages)}`,
    )
    output.write(
      `${clock(snapshot.elapsedMs)}  ${count(ended)}/${count(snapshot.total)} orders  ` +
        `${count(Math.round(rate(ended, snapshot.elapsedMs)))}/s  shipped ${count(snapshot.shipped)}  ` +
        `cancelled ${count(snapshot.cancelled)}  dead-lettered ${count(snapshot.deadLettered)}  ` +
        `retries ${count(snapshot.retried)}  lag: ${lag.join(', ')}\n`,
    )
  }

  output.write(`${title}\n`)
  return {
    update(snapshot) {
      last = snapshot
      if (snapshot.elapsedMs < nextAt) return
      nextAt = snapshot.elapsedMs + EVERY_MS
      show(snapshot)
    },
    note: (text) => void output.write(`       ${text}\n`),
    end() {
      if (last !== undefined && last !== shown) show(last)
    },
  }
}
