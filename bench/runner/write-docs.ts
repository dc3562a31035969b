import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SuiteName } from '../suites/suite.ts'
import { docsSection } from './docs-section.ts'
import { PROJECT_FOLDER } from './folders.ts'
import type { SuiteRecord } from './suite-record.ts'

const PAGE = join(PROJECT_FOLDER, 'docs', 'reference', 'benchmarks.md')

/** Puts `text` between the markers of a suite; everything else of the page stays. Throws when the markers are not there. */
export function replaceSection(page: string, suite: SuiteName, text: string): string {
  const begin = `<!-- bench:${suite} begin -->`
  const end = `<!-- bench:${suite} end -->`
  const from = page.indexOf(begin)
  const to = page.indexOf(end)
  if (from < 0 || to < from) throw new Error(`docs/reference/benchmarks.md lacks "${begin}" ... "${end}"`)
  return `${page.slice(0, from + begin.length)}\n\n${text}\n\n${page.slice(to)}`
}

export function writeDocs(records: readonly SuiteRecord[]): void {
  let page = readFileSync(PAGE, 'utf8')
  for (const record of records) page = replaceSection(page, record.suite, docsSection(record))
  writeFileSync(PAGE, page)
}
