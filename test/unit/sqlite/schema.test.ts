import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, expect, it } from 'vitest'
import { CLAIM, HISTORY, KIND, migrate } from '../../../src/transports/sqlite/worker/schema.ts'

const folder = mkdtempSync(join(tmpdir(), 'busbar-schema-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function migrated(name: string, prepare: (db: DatabaseSync) => void = () => undefined): string[] {
  using db = new DatabaseSync(join(folder, name))
  prepare(db)
  migrate(db)
  const columns = db.prepare(`
    SELECT s.name || ': ' || group_concat(c.name, ' ' ORDER BY c.cid) AS line
    FROM sqlite_schema s JOIN pragma_table_info(s.name) c WHERE s.type = 'table' AND s.name NOT LIKE 'sqlite_%'
    GROUP BY s.name ORDER BY s.name`)
  return columns.all().map(({ line }) => String(line))
}

// Golden values: processes of different versions work on one file. A change needs a new version and its migration.
const TABLES = [
  'claims: group_id seq state owner used first_at key not_before since taken_back running history',
  'delayed: group_id seq due',
  'groups: id topic_id name cursor passed started epoch ephemeral changed deleted_epoch',
  'losses: id group_name topic reason messages first_seq',
  'messages: seq topic_id kind id key time published_at deliver_at target size meta body',
  'owners: id instance consumer group_name pattern ephemeral lease_until lease_ms hungry_at',
  'parked: group_id key seq used taken_back history owner first_at',
  'patterns: group_name pattern ephemeral',
  'processes: instance retention lease_until lease_ms',
  'sequence: only_row last_seq last_at changes',
  'topics: id name last_seq appended messages bytes',
]

it('golden: the tables of a file', () => {
  expect(migrated('new.db')).toEqual(TABLES)
  using db = new DatabaseSync(join(folder, 'new.db'))
  expect(db.prepare('PRAGMA user_version').get()).toEqual({ user_version: 3 })
  expect(db.prepare('PRAGMA application_id').get()).toEqual({ application_id: 0x42757342 })
})

it('golden: the codes in its columns', () => {
  expect(CLAIM).toEqual({ ready: 0, leased: 1, retry: 2 })
  expect(HISTORY).toEqual({ new: 0, returned: 1, unknown: 2, died: 3 })
  expect(KIND).toEqual({ shared: 0, targeted: 1, deadLetter: 2 })
})

it('a file that is migrated already stays as it is', () => {
  expect(migrated('twice.db', migrate)).toEqual(TABLES)
})

it.each([
  ['foreign.db', 'CREATE TABLE users (name TEXT)', 'of some other program'],
  ['versioned.db', 'PRAGMA user_version = 1', 'of some other program'],
  ['marked.db', 'PRAGMA application_id = 77', 'of some other program'],
  [
    'newer.db',
    'PRAGMA application_id = 1114993474; PRAGMA user_version = 4',
    'schema version 4, this Busbar knows up to 3',
  ],
])('the file %s is refused', (name, sql, what) => {
  expect(() => migrated(name, (db) => db.exec(sql))).toThrow(what)
})
