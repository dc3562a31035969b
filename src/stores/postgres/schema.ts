import { tableName } from '../../core/util/table-name.ts'

/** Two processes that create the same table at once would fail on PostgreSQL's own catalog; so they take turns. */
export const LOCK = 'pg_advisory_xact_lock(hashtext($busbar$busbar:schema$busbar$))'

/** One statement, and so one transaction, with every client. */
export function createDedupeTable(schema: string | undefined): string {
  return `DO $do$ BEGIN
  PERFORM ${LOCK};
  CREATE TABLE IF NOT EXISTS ${tableName('busbar_dedupe', schema)} (
    key text PRIMARY KEY,
    token text, -- null: done
    expires_at timestamptz NOT NULL -- end of the lease, or of the time to live
  );
  CREATE INDEX IF NOT EXISTS busbar_dedupe_expires_at ON ${tableName('busbar_dedupe', schema)} (expires_at);
END $do$`
}
