import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { PROJECT_FOLDER } from './folders.ts'
import { runNpm } from './run-npm.ts'

function newestChange(folder: string): number {
  let newest = 0
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) newest = Math.max(newest, statSync(join(entry.parentPath, entry.name)).mtimeMs)
  return newest
}

function builtAt(): number {
  return statSync(join(PROJECT_FOLDER, 'dist', 'index.js'), { throwIfNoEntry: false })?.mtimeMs ?? 0
}

/** What users install is the build, so that is what we measure. Builds when a source is newer. */
export async function ensureBuild(): Promise<void> {
  if (builtAt() > newestChange(join(PROJECT_FOLDER, 'src'))) return
  process.stderr.write('Building dist/ ...\n')
  await runNpm(['run', '--silent', 'build'], PROJECT_FOLDER)
}
