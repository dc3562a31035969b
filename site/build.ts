// Builds the documentation site into site/dist: `npm run docs:site`.
//
// package.json overrides VitePress's esbuild with a newer one, which knows the target of the project's tsconfig.json.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const SITE = import.meta.dirname
const MODULES = join(SITE, 'node_modules')

/** Installs the packages of the site, once for each state of its lock file. */
function install(): void {
  const record = join(MODULES, '.installed-lock.json')
  const lock = readFileSync(join(SITE, 'package-lock.json'), 'utf8')
  if (existsSync(record) && readFileSync(record, 'utf8') === lock) return
  process.stderr.write('busbar: installing VitePress and typedoc into site/; this happens once\n')
  run('npm', 'ci', '--loglevel=error')
  writeFileSync(record, lock)
}

function run(command: string, ...args: readonly string[]): void {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_(package|lifecycle)/.test(name)))
  const { status } = spawnSync(command, args, { cwd: SITE, stdio: 'inherit', env, shell: process.platform === 'win32' })
  if (status !== 0) process.exit(status ?? 1)
}

function runNode(script: string, ...args: readonly string[]): void {
  run(process.execPath, join(SITE, script), ...args)
}

install()
rmSync(join(SITE, 'dist'), { recursive: true, force: true })
runNode('node_modules/typescript/bin/tsc', '-p', SITE)
runNode('node_modules/vitepress/bin/vitepress.js', 'build')
runNode('api.ts')
