// npm runs this after an install in a clone, before it packs, and when an application installs Busbar from git: then
// `dist` has to be there. Without TypeScript (`npm ci --omit=dev`) nothing can be built, and nothing has to be.
// Plain JavaScript: it runs with whichever Node npm has.

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const dist = join(root, 'dist')
const tsc = join(root, 'node_modules/typescript/bin/tsc')

if (existsSync(tsc)) {
  rmSync(dist, { recursive: true, force: true })
  if (compile() && !withoutComments()) process.exitCode = 1
} else process.stderr.write('busbar: TypeScript is not installed, so dist is not built\n')

function compile(...options) {
  const args = [tsc, '-p', join(root, 'tsconfig.build.json'), ...options]
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' })
  process.exitCode = status ?? 1
  return status === 0
}

/**
 * Compiles the JavaScript once more, without comments: those of the declarations and of `src` are for people. One pass
 * can't remove them from JavaScript alone. A file with comments that bundlers obey keeps them.
 */
function withoutComments() {
  const files = readdirSync(dist, { recursive: true }).filter((name) => name.endsWith('.js'))
  const texts = files.map((name) => [join(dist, name), readFileSync(join(dist, name), 'utf8')])
  const done = compile(
    '--declaration',
    'false',
    '--declarationMap',
    'false',
    '--isolatedDeclarations',
    'false',
    '--stripInternal',
    'false',
    '--removeComments',
  )
  for (const [path, text] of texts) if (text.includes('webpackIgnore')) writeFileSync(path, text)
  return done
}
