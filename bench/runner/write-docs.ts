import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { replaceSection } from '../../tools/markdown.ts'
import { docsSection } from './docs-section.ts'
import { PROJECT_FOLDER } from './folders.ts'
import type { SuiteRecord } from './suite-record.ts'

const PAGE = join(PROJECT_FOLDER, 'docs', 'reference', 'benchmarks.md')

export function writeDocs(records: readonly SuiteRecord[]): void {
  let page = readFileSync(PAGE, 'utf8')
  for (const record of records) page = replaceSection(page, `bench:${record.suite}`, docsSection(record))
  writeFileSync(PAGE, page)
}
