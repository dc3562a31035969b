// npm runs this after an install in a clone, before it packs, and when an application installs Busbar from git: then
// `dist` has to be there. Without TypeScript (`npm ci --omit=dev`) nothing can be built, and nothing has to be.
// Plain JavaScript: it runs with whichever Node npm has.

import { spawnSync } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const tsc = join(root, 'node_modules/typescript/bin/tsc')

if (existsSync(tsc)) {
  rmSync(join(root, 'dist'), { recursive: true, force: true })
  const { status } = spawnSync(process.execPath, [tsc, '-p', join(root, 'tsconfig.build.json')], { stdio: 'inherit' })
  process.exitCode = status ?? 1
} else process.stderr.write('busbar: TypeScript is not installed, so dist is not built\n')
