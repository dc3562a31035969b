import type { DatabaseSync } from 'node:sqlite'
import { FileError } from './file-error.ts'

/** "BusB", in the header of the file: marks it as a Busbar file. */
const APPLICATION_ID = 0x42757342
const SCHEMA_VERSION = 3

/** State of a row of `claims`. */
export const CLAIM = {
  /** May be handed out when its key is free. */
  ready: 0,
  /** Handed out to `owner`. */
  leased: 1,
  /** Waits for `not_before`, and blocks its key meanwhile. */
  retry: 2,
} as const

/** `history` of a row of `claims` or `parked`: see `DeliveryHistory`. */
export const HISTORY = { new: 0, returned: 1, unknown: 2, died: 3 } as const

/** Kind of a row of `messages`. */
export const KIND = {
  /** For every group; its id is unique among those of its topic and source. */
  shared: 0,
  /** For the group `target` alone. */
  targeted: 1,
  /** In a dead-letter topic: for every group of it; the same id may come again after a redrive. */
  deadLetter: 2,
} as const

/*
 * The log is `messages`; `seq` is its order over all topics. A group of a topic has read up to `cursor`. What it has
 * read but not acked is in `claims`, or in `delayed` when it is not due yet. So an ack deletes a claim, and a crash
 * loses none: the claims of an owner whose lease has expired become ready again.
 *
 * `appended` counts all messages ever published to a topic for all groups, `passed` those that a group's cursor has
 * passed: their difference is the lag without counting rows.
 */
const SCHEMA_1 = `
CREATE TABLE topics (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  last_seq INTEGER NOT NULL DEFAULT 0,
  appended INTEGER NOT NULL DEFAULT 0,
  messages INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE messages (
  seq INTEGER PRIMARY KEY,
  topic_id INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  id TEXT NOT NULL,
  key TEXT,
  time INTEGER NOT NULL,
  published_at INTEGER NOT NULL,
  deliver_at INTEGER,
  target TEXT,
  size INTEGER NOT NULL,
  meta TEXT NOT NULL,
  body BLOB NOT NULL
);
CREATE INDEX messages_of_topic ON messages (topic_id, seq, kind);
CREATE UNIQUE INDEX messages_once ON messages (topic_id, id) WHERE kind = 0;
CREATE INDEX messages_delayed ON messages (topic_id, deliver_at) WHERE deliver_at IS NOT NULL;
CREATE TABLE sequence (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  last_seq INTEGER NOT NULL,
  last_at INTEGER NOT NULL
);
INSERT INTO sequence VALUES (1, 0, 0);
CREATE TABLE groups (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  topic_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  cursor INTEGER NOT NULL,
  passed INTEGER NOT NULL,
  started INTEGER NOT NULL,
  epoch INTEGER NOT NULL DEFAULT 0,
  ephemeral INTEGER NOT NULL DEFAULT 0,
  UNIQUE (topic_id, name)
);
CREATE INDEX groups_by_name ON groups (name);
CREATE TABLE patterns (
  group_name TEXT NOT NULL,
  pattern TEXT NOT NULL,
  ephemeral INTEGER NOT NULL,
  PRIMARY KEY (group_name, pattern)
) WITHOUT ROWID;
CREATE TABLE claims (
  group_id INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  state INTEGER NOT NULL,
  owner INTEGER,
  attempt INTEGER NOT NULL,
  first_at INTEGER,
  key TEXT,
  not_before INTEGER,
  since INTEGER,
  PRIMARY KEY (group_id, seq)
) WITHOUT ROWID;
CREATE INDEX claims_ready ON claims (group_id, seq) WHERE state = 0;
CREATE INDEX claims_waiting ON claims (group_id, state, key) WHERE state >= 2;
CREATE INDEX claims_due ON claims (not_before) WHERE state = 2;
CREATE TABLE delayed (
  group_id INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  due INTEGER NOT NULL,
  PRIMARY KEY (group_id, seq)
) WITHOUT ROWID;
CREATE INDEX delayed_due ON delayed (due);
CREATE TABLE owners (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  instance TEXT NOT NULL,
  consumer TEXT NOT NULL,
  group_name TEXT NOT NULL,
  pattern TEXT NOT NULL,
  ephemeral INTEGER NOT NULL,
  lease_until INTEGER NOT NULL,
  lease_ms INTEGER NOT NULL,
  hungry_at INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX owners_of_group ON owners (group_name);
`

/*
 * Version 2. An attempt is used when a handler starts, not when a message is handed out:
 *
 * - `used` counts attempts, including one that is `running` if that was noted. `taken_back` is subtracted: a process
 *   that had been taken for dead writes it when it wakes up, while another owner may write `used`.
 * - `owner` stays on a row whose owner died, to distinguish it from owners that died later.
 * - A leased row may have a `not_before`: its holder waits for the next attempt.
 *
 * Messages behind their key are in a separate table, in the order of the key. However long the backlog of one key is,
 * `claims` holds only what is in play, so reading it always costs the same.
 *
 * A group that is deleted while it is consumed keeps its row, and `deleted_epoch` tells its members why the epoch
 * increased.
 *
 * `changes` numbers what makes messages ready other than publishing; `groups.changed` and `topics.last_seq` tell other
 * processes where to look.
 */
const SCHEMA_2 = `
ALTER TABLE claims RENAME COLUMN attempt TO used;
ALTER TABLE claims ADD COLUMN taken_back INTEGER NOT NULL DEFAULT 0;
ALTER TABLE claims ADD COLUMN running INTEGER NOT NULL DEFAULT 0;
ALTER TABLE claims ADD COLUMN history INTEGER NOT NULL DEFAULT 0;
UPDATE claims SET used = used - 1 WHERE state = 1 AND used > 0;
UPDATE claims SET history = 1 WHERE used > 0;
CREATE TABLE parked (
  group_id INTEGER NOT NULL,
  key TEXT NOT NULL,
  seq INTEGER NOT NULL,
  used INTEGER NOT NULL DEFAULT 0,
  taken_back INTEGER NOT NULL DEFAULT 0,
  history INTEGER NOT NULL DEFAULT 0,
  owner INTEGER,
  first_at INTEGER,
  PRIMARY KEY (group_id, key, seq)
) WITHOUT ROWID;
INSERT INTO parked (group_id, key, seq, used, history, first_at)
  SELECT group_id, coalesce(key, ''), seq, used, history, first_at FROM claims WHERE state = 3;
DELETE FROM claims WHERE state = 3;
DROP INDEX claims_waiting;
CREATE INDEX claims_retry ON claims (group_id, key) WHERE state = 2;
ALTER TABLE sequence ADD COLUMN changes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE groups ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE groups ADD COLUMN deleted_epoch INTEGER NOT NULL DEFAULT 0;
CREATE INDEX groups_changed ON groups (changed);
CREATE INDEX topics_changed ON topics (last_seq);
CREATE TABLE losses (
  id INTEGER PRIMARY KEY,
  group_name TEXT NOT NULL,
  topic TEXT NOT NULL,
  reason TEXT NOT NULL,
  messages INTEGER NOT NULL,
  first_seq INTEGER NOT NULL,
  UNIQUE (group_name, topic, reason)
);
CREATE TABLE processes (
  instance TEXT PRIMARY KEY,
  retention TEXT NOT NULL,
  lease_until INTEGER NOT NULL,
  lease_ms INTEGER NOT NULL
) WITHOUT ROWID;
`

/** Version 3. Ids are unique within a source (CloudEvents), so two sources may use the same. */
const SCHEMA_3 = `
DROP INDEX messages_once;
CREATE UNIQUE INDEX messages_once ON messages (topic_id, id, meta ->> '$.source') WHERE kind = 0;
`

/** Migrates a file to the current schema; creates it when the file is empty. Safe while other processes do the same. */
export function migrate(db: DatabaseSync): void {
  // A file that is not ours must be refused before anything in it changes, including the journal mode.
  checkVersion(db)
  const mode = pragma(db, 'journal_mode = WAL')
  if (mode !== 'wal')
    throw new FileError('no-wal', `SQLite can't keep a write-ahead log there (journal mode "${String(mode)}")`)
  db.exec('BEGIN IMMEDIATE')
  try {
    const version = checkVersion(db)
    if (version < SCHEMA_VERSION) {
      if (version < 1) db.exec(SCHEMA_1)
      if (version < 2) db.exec(SCHEMA_2)
      db.exec(SCHEMA_3)
      db.exec(`PRAGMA application_id = ${APPLICATION_ID}`)
      db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`)
    }
    db.exec('COMMIT')
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
}

/** The file's schema version, 0 for an empty file. Throws a `FileError` if it is newer than ours, or not a file of ours. */
export function checkVersion(db: DatabaseSync): number {
  const version = pragma(db, 'user_version') as number
  const application = pragma(db, 'application_id') as number
  const tables = db.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.['n'] as number
  if (application !== APPLICATION_ID && (tables > 0 || version > 0 || application !== 0))
    throw new FileError('foreign-file', 'the file is a SQLite database of some other program')
  if (version > SCHEMA_VERSION)
    throw new FileError(
      'newer-schema',
      `the file has schema version ${version}, this Busbar knows up to ${SCHEMA_VERSION}`,
    )
  return version
}

function pragma(db: DatabaseSync, text: string): unknown {
  const row = db.prepare(`PRAGMA ${text}`).get()
  return row === undefined ? undefined : Object.values(row)[0]
}
