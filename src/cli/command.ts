/** Where a command writes, and what it reads besides its arguments. */
export interface CommandIo {
  out(text: string): unknown
  error(text: string): unknown
  readonly env: Readonly<Record<string, string | undefined>>
}

/** One subcommand of `busbar`, in a file of its own. */
export interface Command {
  /** One line for the list of commands. */
  readonly summary: string
  /** The whole help. */
  readonly usage: string
  /** Resolves with the exit code. A `UsageError` prints the help, any other error its message. */
  run(args: readonly string[], io: CommandIo): Promise<number>
}

/** The command was called in a wrong way. */
export class UsageError extends Error {}

/** A table of texts, or the rows as JSON, one a line. */
export function printRows(
  io: CommandIo,
  rows: readonly Readonly<Record<string, unknown>>[],
  columns: readonly string[],
  asJson: boolean,
): void {
  if (asJson) {
    for (const row of rows) io.out(`${JSON.stringify(row)}\n`)
    return
  }
  const cells = [columns, ...rows.map((row) => columns.map((column) => textOf(row[column])))]
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => (line[index] ?? '').length)))
  for (const line of cells)
    io.out(
      `${line
        .map((cell, index) => cell.padEnd(widths[index] ?? 0))
        .join('  ')
        .trimEnd()}\n`,
    )
}

function textOf(value: unknown): string {
  if (value === undefined || value === null) return '-'
  const text = value instanceof Date ? value.toISOString() : typeof value === 'string' ? value : JSON.stringify(value)
  return text.replaceAll(/\s+/g, ' ').slice(0, 80)
}
