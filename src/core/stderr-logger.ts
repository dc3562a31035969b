import type { Clock } from './clock.ts'
import { describeError } from './util/describe-error.ts'
import type { Logger } from './logger.ts'

const EVERY_MS = 60_000
const MAX_LENGTH = 1_000
/** A foreign id or error must not print lines that look like ours, or control the terminal. */
// oxlint-disable-next-line no-control-regex
const LINE_BREAKS = /[\u0000-\u001f\u007f-\u009f]+/g
const HOW_TO_CHANGE = 'Pass createBus a logger to get everything, or logger: false to get nothing'

/** What was printed of one kind of line, and since when. */
interface Printed {
  readonly at: number
  leftOut: number
}

/**
 * Used when no logger was given. Prints what costs messages to stderr, each kind at most once a minute, so that a first program
 * is not silent and a failing service does not flood its console.
 */
export class StderrLogger implements Logger {
  readonly #clock: Clock
  readonly #write: (text: string) => void
  readonly #printed = new Map<string, Printed>()

  constructor(clock: Clock, write: (text: string) => void = (text) => void process.stderr.write(text)) {
    this.#clock = clock
    this.#write = write
  }

  debug(): void {}

  info(): void {}

  warn(): void {}

  error(fields: object, message: string): void {
    const { err } = fields as { readonly err?: unknown }
    this.print(message, err === undefined ? message : `${message}: ${describeError(err).message}`)
  }

  print(kind: string, text: string): void {
    const now = this.#clock.monotonic()
    const last = this.#printed.get(kind)
    if (last !== undefined && now - last.at < EVERY_MS) {
      last.leftOut++
      return
    }
    // There are few kinds: names of events, and our own messages.
    this.#printed.set(kind, { at: now, leftOut: 0 })
    const line = text.replaceAll(LINE_BREAKS, ' ')
    this.#write(
      `busbar: ${line.length > MAX_LENGTH ? `${line.slice(0, MAX_LENGTH)}...` : line}\n` +
        `        (${more(kind, last?.leftOut ?? 0)}"${kind}" is printed at most once a minute. ${HOW_TO_CHANGE})\n`,
    )
  }

  /** Reports how many lines were left out since the last report. */
  flush(): void {
    for (const [kind, printed] of this.#printed) {
      if (printed.leftOut > 0) this.#write(`busbar: ${more(kind, printed.leftOut)}${HOW_TO_CHANGE}\n`)
      printed.leftOut = 0
    }
  }
}

function more(kind: string, leftOut: number): string {
  return leftOut === 0 ? '' : `${leftOut} more "${kind}" ${leftOut === 1 ? 'was' : 'were'} not printed. `
}
