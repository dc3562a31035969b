import { parseArgs } from 'node:util'
import { createInboxTable } from '../stores/postgres/inbox.ts'
import { INBOX_SQL } from '../stores/sqlite/inbox.ts'
import { UsageError } from './command.ts'
import type { Command } from './command.ts'
import { openDatabase } from './open-database.ts'

const USAGE = `Usage: busbar inbox <verb> [options]

  migrate     prints the SQL of the table; with --apply, runs it
  status      how many messages are remembered, and how many of them are expired
  forget      makes messages be handled again when they come again
  purge       deletes expired records, in batches

Options
  --database  postgres://… or sqlite:<path>; default: BUSBAR_DATABASE
  --schema    schema of the table (PostgreSQL)
  --consumer  forget: "<group> <topic>"
  --id        forget: this message; may be repeated
  --json      JSON
`

const OPTIONS = {
  database: { type: 'string' },
  schema: { type: 'string' },
  consumer: { type: 'string' },
  id: { type: 'string', multiple: true },
  apply: { type: 'boolean' },
  json: { type: 'boolean' },
} as const

const BATCH = 1_000

/** `busbar inbox`. */
export const command: Command = {
  summary: 'what consumers remember as handled',
  usage: USAGE,
  async run(args, io) {
    const { values, positionals } = parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true })
    const [verb = ''] = positionals
    if (positionals.length !== 1) throw new UsageError('which verb? Give one')
    const { consumer, id: ids } = values
    const url = values.database ?? io.env['BUSBAR_DATABASE']
    const report = (result: Readonly<Record<string, number>>): void => {
      if (values.json === true) io.out(`${JSON.stringify(result)}\n`)
      else for (const [name, value] of Object.entries(result)) io.out(`${name.padEnd(12)} ${value}\n`)
    }
    if (verb === 'migrate' && values.apply !== true) {
      io.out(`${url?.startsWith('sqlite:') === true ? INBOX_SQL : createInboxTable(values.schema)};\n`)
      return 0
    }
    if (verb === 'forget' && consumer === undefined && ids === undefined)
      throw new UsageError('which messages? Give --consumer or --id')
    if (!['migrate', 'status', 'forget', 'purge'].includes(verb)) throw new UsageError(`"${verb}" is not a verb`)
    const database = await openDatabase(url, values.schema)
    const { inbox } = database
    try {
      if (verb === 'migrate') await inbox.createTables()
      if (verb === 'status') report({ ...(await inbox.stats()) })
      if (verb === 'forget') report({ forgotten: await inbox.forget({ consumer, ids }) })
      if (verb === 'purge') {
        let purged = 0
        for (let last = BATCH; last === BATCH; purged += last) last = await inbox.purge(BATCH)
        report({ purged })
      }
      return 0
    } finally {
      await database.close()
    }
  },
}
