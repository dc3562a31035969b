// Runs a command of this project on a machine that has nothing but Node 20 or newer and npm:
//
//     node tools/bootstrap.mjs node --conditions=busbar-source examples/order-flow/main.ts --orders 100
//
// Installs the dependencies when they are missing or differ from package-lock.json, then runs the command with the
// Node that the project brings along (the `node` package). It says nothing when there is nothing to do, and what it
// says goes to stderr, so that stdout belongs to the command. Plain JavaScript without imports of ours: it runs first.

import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { constants } from 'node:os'
import { basename, delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const modules = join(root, 'node_modules')
const windows = process.platform === 'win32'
const OLDEST_NODE = [22, 18]
const INSTALL_OPTIONS = ['--include=dev', '--no-audit', '--no-fund', '--loglevel=error']

/** Ends the process: what is wrong, and what to do about it. */
function fail(message) {
  process.stderr.write(`busbar: ${message}\n`)
  process.exit(1)
}

/**
 * True when what npm says it installed is what the lock file asks for. npm writes its own record at the very end of an
 * install, so an install that was cut short has none; and one made by hand counts as well as one of ours.
 */
function isInstalled() {
  const record = join(modules, '.package-lock.json')
  if (!existsSync(record)) return false
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages
  const present = JSON.parse(readFileSync(record, 'utf8')).packages
  for (const [path, entry] of Object.entries(wanted)) {
    if (!path.startsWith('node_modules/')) continue
    const found = present[path]
    // Optional ones are for other platforms, or failed and may.
    if (found === undefined && (entry.optional || entry.devOptional)) continue
    if (found?.version !== entry.version || found?.integrity !== entry.integrity) return false
  }
  return true
}

function install() {
  process.stderr.write(
    'busbar: installing the dependencies with npm ci: about 350 MB, most of it a Node 24. This happens once\n',
  )
  let status = runNpm(['ci', ...INSTALL_OPTIONS])
  // The one script among them fetches a Node of the project's own, which a recent one makes up for.
  if (status !== 0 && isRecent(process.versions.node)) status = runNpm(['ci', '--ignore-scripts', ...INSTALL_OPTIONS])
  if (status !== 0)
    fail(
      `the installation failed (npm ci ended with ${status ?? 'a signal'}; npm's own message is above). ` +
        'It needs the npm registry once. When this was another problem, delete node_modules and try again.',
    )
}

function runNpm(args) {
  // Under `npm run` npm says where it is; the one on the PATH may be another one.
  const script = process.env.npm_execpath
  const known = script !== undefined && basename(script) === 'npm-cli.js'
  const [file, allArgs] = known
    ? [process.env.npm_node_execpath ?? process.execPath, [script, ...args]]
    : [windows ? 'npm.cmd' : 'npm', args]
  const { status, error } = spawnSync(file, allArgs, { cwd: root, stdio: ['ignore', 2, 2], shell: windows && !known })
  if (error !== undefined) fail(`npm can't be run (${error.message}); it comes with Node: https://nodejs.org`)
  return status
}

function isRecent(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1])
}

/** The project's own Node; else the running one if it will do. */
function findNode() {
  const own = join(modules, 'node', 'bin', windows ? 'node.exe' : 'node')
  if (existsSync(own)) {
    if (realpathSync(own) === realpathSync(process.execPath)) return own
    // It may be there and yet not run: a libc that it was not built for.
    if (spawnSync(own, ['--version']).status === 0) return own
  }
  if (isRecent(process.versions.node)) return process.execPath
  return fail(
    `this needs Node ${OLDEST_NODE.join('.')} or newer and runs on ${process.versions.node}. The npm package "node" brings ` +
      'one along, but its install script did not run or its binary does not fit this machine. ' +
      'Allow its script (npm rebuild node --ignore-scripts=false), or install a newer Node: https://nodejs.org',
  )
}

function run(command, args) {
  const node = findNode()
  const path = [dirname(node), join(modules, '.bin'), process.env.PATH ?? process.env.Path].join(delimiter)
  const isNode = command === 'node'
  const child = spawn(isNode ? node : command, args, {
    stdio: 'inherit',
    // Compiled code of earlier runs halves the start of every process; the folder goes with node_modules.
    env: { NODE_COMPILE_CACHE: join(modules, '.cache', 'compiled'), ...process.env, PATH: path },
    shell: windows && !isNode,
  })
  // The terminal sends Ctrl-C to the command as well, which ends in its own way; this one waits for it.
  process.on('SIGINT', () => {})
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  child.on('error', (error) => fail(`${command} can't be run: ${error.message}`))
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]))
}

const [command, ...args] = process.argv.slice(2)
if (command === undefined) fail('which command? usage: node tools/bootstrap.mjs <command> [arguments]')
if (!isInstalled()) install()
run(command, args)
