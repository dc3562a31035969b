/** A table of Markdown. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [row(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(row)].join('\n')
}

function row(cells: readonly string[]): string {
  return `| ${cells.map(escapeCell).join(' | ')} |`
}

/** Escapes a text for a table cell; harmless elsewhere. */
export function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|')
}

/**
 * Puts `text` between two comments, `<!-- NAME begin -->` and `<!-- NAME end -->`; the rest of the page stays. Throws
 * when the comments are missing.
 */
export function replaceSection(page: string, name: string, text: string): string {
  const begin = `<!-- ${name} begin -->`
  const end = `<!-- ${name} end -->`
  const from = page.indexOf(begin)
  const to = page.indexOf(end)
  if (from < 0 || to < from) throw new Error(`The page lacks "${begin}" ... "${end}"`)
  return `${page.slice(0, from + begin.length)}\n\n${text}\n\n${page.slice(to)}`
}
