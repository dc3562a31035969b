import { bar, clock, count } from './format.ts'
import { createRate } from './rate.ts'
import type { Output, Snapshot, View } from './view.ts'

const EVERY_MS = 100
const BAR_CELLS = 32

/** Redraws the same few lines on a terminal. Notes scroll above them. */
export function liveView(title: string, output: Output): View {
  const rate = createRate()
  let lines: readonly string[] = []
  let nextAt = 0
  let last: Snapshot | undefined

  /** Moves up and overwrites what was drawn. */
  function draw(above: string, now: readonly string[]): void {
    const up = lines.length === 0 ? '' : `\x1b[${lines.length}A`
    // A line that wraps would take two lines, and the next redraw would start one line too low.
    const width = Math.max(20, output.columns || 80) - 1
    const body = now.map((line) => `${line.slice(0, width)}\x1b[K\n`).join('')
    output.write(`${up}\r${above === '' ? '' : `${above}\x1b[K\n`}${body}\x1b[J`)
    lines = now
  }

  function render(snapshot: Snapshot): readonly string[] {
    const { shipped, cancelled, deadLettered, retried, duplicates, published, total, elapsedMs, lag } = snapshot
    const done = (shipped + cancelled + deadLettered) / total
    const perSecond = Math.round(rate(shipped + cancelled, elapsedMs))
    const groups = [...lag].map(([group, messages]) => ({ group, lag: messages === undefined ? '?' : count(messages) }))
    return [
      '',
      `  ${bar(done, BAR_CELLS)} ${String(Math.floor(done * 100)).padStart(3)} %   ${count(perSecond)} orders/s   ${clock(elapsedMs)}`,
      '',
      `  published ${count(published)} of ${count(total)}   retries ${count(retried)}   duplicates ignored ${count(duplicates)}`,
      `  shipped ${count(shipped)}   cancelled ${count(cancelled)}   dead-lettered ${count(deadLettered)}`,
      '',
      `  lag of${groups.map((each) => each.group.padStart(each.group.length + 3)).join('')}`,
      `        ${groups.map((each) => each.lag.padStart(each.group.length + 3)).join('')}`,
    ]
  }

  output.write(`${title}\n`)
  return {
    update(snapshot) {
      last = snapshot
      if (snapshot.elapsedMs < nextAt) return
      nextAt = snapshot.elapsedMs + EVERY_MS
      draw('', render(snapshot))
    },
    note: (text) => draw(`  ${text}`, lines),
    end() {
      if (last !== undefined) draw('', render(last))
    },
  }
}
