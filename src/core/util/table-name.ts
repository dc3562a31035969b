/** The name of a table as SQL takes it: quoted, with its schema if there is one. */
export function tableName(
  table: string,
  schema: string | undefined,
  dialect: 'postgres' | 'mysql' | 'sqlite' = 'postgres',
): string {
  const mark = dialect === 'mysql' ? '`' : '"'
  const quote = (name: string): string => mark + name.replaceAll(mark, mark + mark) + mark
  return schema === undefined ? quote(table) : `${quote(schema)}.${quote(table)}`
}
