import { liveView } from './live-view.ts'
import { plainView } from './plain-view.ts'

/** How it stands. */
export interface Snapshot {
  readonly elapsedMs: number
  /** How many orders there will be. */
  readonly total: number
  readonly published: number
  readonly shipped: number
  readonly cancelled: number
  readonly deadLettered: number
  readonly retried: number
  readonly duplicates: number
  /** Messages that each group has before it; undefined where the broker can't tell. */
  readonly lag: ReadonlyMap<string, number | undefined>
}

export interface View {
  update(snapshot: Snapshot): void
  /** Something happened: a kill, a deployment. */
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

/** Shows nothing but what happened. */
export function quietView(title: string, output: Output): View {
  output.write(`${title}\n`)
  return { update() {}, note: (text) => void output.write(`${text}\n`), end() {} }
}
