/** The name of a table as SQL takes it: quoted, with its schema if there is one. */
export function tableName(table: string, schema: string | undefined): string {
  return schema === undefined ? quote(table) : `${quote(schema)}.${quote(table)}`
}

function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** Two processes that create the same table at once would fail on PostgreSQL's own catalog; so they take turns. */
const LOCK = 'pg_advisory_xact_lock(hashtext($busbar$busbar:schema$busbar$))'

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
