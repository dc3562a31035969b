import { parseArgs } from 'node:util'
import { createOutboxTables } from '../stores/postgres/outbox-schema.ts'
import { OUTBOX_SQL } from '../stores/sqlite/outbox-schema.ts'
import type { OutboxStore, RowFilter } from '../outbox/store.ts'
import { printRows, UsageError } from './command.ts'
import type { Command, CommandIo } from './command.ts'
import { openDatabase } from './open-database.ts'

const USAGE = `Usage: busbar outbox <verb> [options]

  migrate     prints the SQL of the tables; with --apply, runs it
  status      what waits, how old it is, what is parked, which shards have no relay
  list        rows, oldest first
  requeue     makes parked rows due again, with the same id
  discard     deletes parked rows

Options
  --database  postgres://… or sqlite:<path>; default: BUSBAR_DATABASE
  --schema    schema of the tables (PostgreSQL)
  --id        this message; may be repeated
  --topic, --key
  --parked    only parked rows (list)
  --all       requeue or discard all that are parked
  --limit     most rows; default 100, or 1,000 for requeue and discard
  --dry-run   requeue and discard: only list what would be changed
  --json      one JSON object a line

Bodies are not shown. A row that is requeued goes behind what its key has sent since.
`

const OPTIONS = {
  database: { type: 'string' },
  schema: { type: 'string' },
  id: { type: 'string', multiple: true },
  topic: { type: 'string' },
  key: { type: 'string' },
  parked: { type: 'boolean' },
  all: { type: 'boolean' },
  limit: { type: 'string' },
  apply: { type: 'boolean' },
  'dry-run': { type: 'boolean' },
  json: { type: 'boolean' },
} as const

type Values = ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>['values']

/** `busbar outbox`. */
export const command: Command = {
  summary: 'tables, state and parked rows of an outbox',
  usage: USAGE,
  async run(args, io) {
    const { values, positionals } = parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true })
    const [verb = '', ...others] = positionals
    if (others.length > 0) throw new UsageError(`"${others.join(' ')}" is not expected behind "${verb}"`)
    const url = values.database ?? io.env['BUSBAR_DATABASE']
    if (verb === 'migrate' && values.apply !== true) {
      io.out(`${url?.startsWith('sqlite:') === true ? OUTBOX_SQL : createOutboxTables(values.schema)};\n`)
      return 0
    }
    const work = Object.hasOwn(VERBS, verb) ? VERBS[verb] : undefined
    if (work === undefined) throw new UsageError(verb === '' ? 'which verb?' : `"${verb}" is not a verb`)
    const database = await openDatabase(url, values.schema)
    try {
      await work(database.outbox, values, io)
      return 0
    } finally {
      await database.close()
    }
  },
}

const VERBS: Readonly<Record<string, (store: OutboxStore, values: Values, io: CommandIo) => Promise<void>>> = {
  async migrate(store, _values, io) {
    await store.createTables()
    io.out('The tables of the outbox are up to date.\n')
  },
  async status(store, values, io) {
    const stats = await store.stats()
    if (values.json === true) io.out(`${JSON.stringify(stats)}\n`)
    else for (const [name, value] of Object.entries(stats)) io.out(`${name.padEnd(14)} ${String(value)}\n`)
  },
  async list(store, values, io) {
    await print(store, filterOf(values, 100), values, io)
  },
  requeue: (store, values, io) => change(store, values, io, (filter) => store.requeue(filter)),
  discard: (store, values, io) => change(store, values, io, (filter) => store.discard(filter)),
}

const COLUMNS = ['position', 'id', 'topic', 'key', 'createdAt', 'attempts', 'parkedAt', 'bodyBytes', 'lastError']

async function print(store: OutboxStore, filter: RowFilter, values: Values, io: CommandIo): Promise<void> {
  const rows = await store.list(filter)
  printRows(io, rows as unknown as Record<string, unknown>[], COLUMNS, values.json === true)
}

async function change(
  store: OutboxStore,
  values: Values,
  io: CommandIo,
  work: (filter: RowFilter) => Promise<readonly string[]>,
): Promise<void> {
  if (values.id === undefined && values.topic === undefined && values.key === undefined && values.all !== true)
    throw new UsageError('which rows? Give --id, --topic or --key, or --all')
  const filter = filterOf({ ...values, parked: true }, 1_000)
  if (values['dry-run'] === true) return print(store, filter, values, io)
  const ids = await work(filter)
  if (values.json === true) for (const id of ids) io.out(`${JSON.stringify({ id })}\n`)
  else io.out(`${ids.length} rows\n`)
}

function filterOf(values: Values, defaultLimit: number): RowFilter {
  const limit = values.limit === undefined ? defaultLimit : Number(values.limit)
  if (!Number.isInteger(limit) || limit < 1) throw new UsageError('--limit must be a whole number >= 1')
  const { id: ids, topic, key, parked } = values
  return { ids, topic, key, parked: parked === true ? true : undefined, limit }
}
