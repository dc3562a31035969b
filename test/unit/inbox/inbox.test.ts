import { DatabaseSync } from 'node:sqlite'
import { describe, expect, it } from 'vitest'
import { ConfigurationError } from 'busbar'
import { createInbox } from 'busbar/inbox'
import { sqliteTx } from 'busbar/outbox'
import { sqliteInboxStore, sqliteOutboxStore, sqliteUnitOfWork } from 'busbar/stores/sqlite'
import { inboxSuite } from './inbox-suite.ts'

describe('SQLite', () => {
  inboxSuite<DatabaseSync>(async () => {
    const database = new DatabaseSync(':memory:')
    database.exec('CREATE TABLE effects (name TEXT NOT NULL)')
    const store = sqliteInboxStore({ database })
    await store.createTables()
    await sqliteOutboxStore({ database }).createTables()
    const column = (sql: string): string[] =>
      database
        .prepare(sql)
        .all()
        .map((row) => String(Object.values(row)[0]))
    return {
      unitOfWork: sqliteUnitOfWork({ database }),
      store,
      tx: sqliteTx(),
      addEffect: async (tx, name) => tx.prepare('INSERT INTO effects VALUES (?)').run(name),
      effects: async () => column('SELECT name FROM effects'),
      outbox: async () => column('SELECT id FROM busbar_outbox ORDER BY position'),
    }
  })
})

it('createInbox lists what is wrong', () => {
  expect(() => createInbox({ ttlMs: 0 } as never)).toThrow(ConfigurationError)
  expect(() => createInbox({ ttlMs: 0 } as never)).toThrow(/unitOfWork.*\n.*store.*\n.*ttlMs/)
})
