import { liveView } from './live-view.ts'
import { plainView } from './plain-view.ts'

/** State of the flow. */
export interface Snapshot {
  readonly elapsedMs: number
  /** Total number of orders. */
  readonly total: number
  readonly published: number
  readonly shipped: number
  readonly cancelled: number
  readonly deadLettered: number
  readonly retried: number
  readonly duplicates: number
  /** Number of messages waiting for each group; undefined when unknown. */
  readonly lag: ReadonlyMap<string, number | undefined>
}

export interface View {
  update(snapshot: Snapshot): void
  /** Reports something that happened: a kill, a deployment. */
  note(text: string): void
  /** Leaves the last state on the screen. */
  end(): void
}

export type Output = NodeJS.WriteStream

/** Redraws in place on a terminal, else writes a line each second. */
export function createView(title: string, output: Output): View {
  const canRedraw = output.isTTY && process.env['TERM'] !== 'dumb'
  return canRedraw ? liveView(title, output) : plainView(title, output)
}

/** Shows only what happened. */
export function quietView(title: string, output: Output): View {
  output.write(`${title}\n`)
  return { update() {}, note: (text) => void output.write(`${text}\n`), end() {} }
}
