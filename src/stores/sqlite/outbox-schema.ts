import { SHARDS } from '../../outbox/row.ts'

/** Version of the tables that this release reads and writes. */
export const OUTBOX_VERSION = 1

/** The SQL that creates the tables of the outbox, or brings them up to date. Safe to run again. Times are in ms since 1970. */
export const OUTBOX_SQL: string = `BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS busbar_schema (component TEXT PRIMARY KEY, version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS busbar_outbox (
  position INTEGER PRIMARY KEY AUTOINCREMENT, -- order
  shard INTEGER NOT NULL, -- hash of the key
  id TEXT NOT NULL,
  topic TEXT NOT NULL,
  key TEXT,
  transport TEXT, -- null: the default of the relay's bus
  headers TEXT NOT NULL, -- envelope and headers, as JSON
  body BLOB, -- null: a tombstone
  created_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)), -- for its age only
  available_at INTEGER, -- null: now; else a delay, or the pause after a failure
  attempts INTEGER NOT NULL DEFAULT 0,
  failed_at INTEGER, -- parked
  last_error TEXT
);
CREATE INDEX IF NOT EXISTS busbar_outbox_available_at ON busbar_outbox (available_at) WHERE available_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS busbar_outbox_failed_at ON busbar_outbox (failed_at) WHERE failed_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS busbar_outbox_shards (
  shard INTEGER PRIMARY KEY,
  owner TEXT, -- the relay that sends the rows of the shard
  lease_until INTEGER NOT NULL DEFAULT 0,
  fence INTEGER NOT NULL DEFAULT 0 -- grows with each owner
);
WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${SHARDS - 1})
INSERT OR IGNORE INTO busbar_outbox_shards (shard) SELECT n FROM numbers;
CREATE TABLE IF NOT EXISTS busbar_outbox_relays (owner TEXT PRIMARY KEY, seen_until INTEGER NOT NULL);
INSERT OR IGNORE INTO busbar_schema VALUES ('outbox', 1);
COMMIT`
