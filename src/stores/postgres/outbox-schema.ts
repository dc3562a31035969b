import { tableName } from '../../core/util/table-name.ts'
import { SHARDS } from '../../outbox/row.ts'
import { LOCK } from './schema.ts'

/** Version of the tables that this release reads and writes. */
export const OUTBOX_VERSION = 1

/**
 * The SQL that creates the tables of the outbox, or brings them up to date: one statement, and so one transaction, with every
 * client. Safe to run again, and at the same time as others.
 */
export function createOutboxTables(schema: string | undefined): string {
  const table = (name: string): string => tableName(name, schema)
  const outbox = table('busbar_outbox')
  return `DO $do$ BEGIN
  PERFORM ${LOCK};
  CREATE TABLE IF NOT EXISTS ${table('busbar_schema')} (component text PRIMARY KEY, version int NOT NULL);
  IF EXISTS (SELECT FROM ${table('busbar_schema')} WHERE component = 'outbox' AND version >= 1) THEN RETURN; END IF;
  CREATE TABLE ${outbox} (
    position bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY, -- order
    shard smallint NOT NULL, -- hash of the key
    id text NOT NULL,
    topic text NOT NULL,
    key text,
    transport text, -- null: the default of the relay's bus
    headers jsonb NOT NULL, -- envelope and headers
    body bytea, -- null: a tombstone
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- for its age only
    available_at timestamptz, -- null: now; else a delay, or the pause after a failure
    attempts int NOT NULL DEFAULT 0,
    failed_at timestamptz, -- parked
    last_error text
  );
  CREATE INDEX busbar_outbox_available_at ON ${outbox} (available_at) WHERE available_at IS NOT NULL;
  CREATE INDEX busbar_outbox_failed_at ON ${outbox} (failed_at) WHERE failed_at IS NOT NULL;
  -- Rows come and go: clean up by their number, not by the size of the table.
  ALTER TABLE ${outbox} SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
  CREATE TABLE ${table('busbar_outbox_shards')} (
    shard smallint PRIMARY KEY,
    owner text, -- the relay that sends the rows of the shard
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    fence bigint NOT NULL DEFAULT 0 -- grows with each owner
  );
  INSERT INTO ${table('busbar_outbox_shards')} (shard) SELECT generate_series(0, ${SHARDS - 1});
  CREATE TABLE ${table('busbar_outbox_relays')} (
    owner text PRIMARY KEY,
    seen_until timestamptz NOT NULL, -- alive until then
    awake_until timestamptz NOT NULL DEFAULT '-infinity' -- looks for rows by itself until then
  );
  INSERT INTO ${table('busbar_schema')} VALUES ('outbox', 1);
END $do$`
}
