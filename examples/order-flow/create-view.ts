import { liveView } from './live-view.ts'
import { plainView } from './plain-view.ts'
import type { Output, View } from './view.ts'

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
