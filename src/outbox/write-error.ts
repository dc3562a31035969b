import { StateError } from '../core/errors.ts'
import { OUTSIDE } from './insert.ts'
import type { Dialect } from './tx-adapter.ts'

interface WriteContext {
  readonly library: string
  readonly remedy: string
  readonly dialect: Dialect
  readonly schema: string | undefined
}

const ABORTED = '25P02'
const NO_TABLE: ReadonlySet<unknown> = new Set(['42P01', 'ER_NO_SUCH_TABLE'])

/** What `outbox.publish` rejects with: a `StateError` for what the caller can put right, else the library's own error. */
export function writeError(error: unknown, { library, remedy, schema }: WriteContext): unknown {
  const { codes, texts } = chain(error)
  // In double quotes: some libraries add the whole statement to the message.
  if (texts.some((text) => text.includes(`"${OUTSIDE}"`)))
    return new StateError(
      `outbox.publish needs an open transaction, and this statement of ${library} ran outside of one: ${remedy}. Nothing was written`,
    )
  if (codes.includes(ABORTED))
    return new StateError(
      `The transaction of ${library} has failed already, so PostgreSQL takes no more statements: roll it back. Nothing was written`,
    )
  // Kysely's words for a transaction that has ended.
  if (texts.some((text) => /^Transaction is already (committed|rolled back)/.test(text)))
    return new StateError(`The transaction of ${library} has ended, so nothing can be written in it: ${remedy}`)
  if (codes.some((code) => NO_TABLE.has(code)) || texts.some((text) => /no such table: .*busbar_outbox/.test(text))) {
    const where = schema === undefined ? '' : ` in the schema "${schema}"`
    return new StateError(`The table busbar_outbox does not exist${where}: run the SQL of \`busbar outbox migrate\``)
  }
  return error
}

/** Libraries wrap the errors of their drivers: in `cause`, `original`, `driverError` or `meta`. */
function chain(error: unknown): { codes: unknown[]; texts: string[] } {
  const codes: unknown[] = []
  const texts: string[] = []
  let current = error as Record<string, unknown> | null | undefined
  for (let depth = 0; depth < 5 && typeof current === 'object' && current !== null; depth++) {
    const meta = current['meta'] as Record<string, unknown> | undefined
    codes.push(current['code'], meta?.['code'])
    texts.push(String(current['message']))
    current = (current['cause'] ?? current['driverError'] ?? meta?.['driverAdapterError']) as typeof current
  }
  return { codes, texts }
}
