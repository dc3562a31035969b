// Runs the tests with the brokers that they need:
//
//     npm test                                      everything but the soaks
//     npm test -- test/unit                         what vitest finds for the given words
//     npm run test:conformance -- memory sqlite     the conformance suite of some transports
//     npm run test:soak                             the long ones too
//
// Brokers that are not running are started, and stopped afterwards. If one can't be started, its tests are skipped and
// the last lines of output say so; with CI set that is a failure.

import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { ensurePeers } from '../test/peers/ensure-peers.ts'
import { BROKER_NAMES, bringUp, fetchAhead, sharedBroker, stopShared } from './brokers/index.ts'
import type { BrokerError, BrokerName } from './brokers/index.ts'

/** The brokers that transports and stores are tested on. The tests of the brokers themselves start their own. */
const TESTED = ['rabbitmq', 'nats', 'redis', 'postgres'] as const satisfies readonly BrokerName[]

/** Folders whose tests need no broker. */
const BROKERLESS = ['test/unit', 'test/types'] as const

/** Those of many short files: run in one process for each worker, they take a third of the CPU, which else goes to imports. */
const SHORT = ['test/unit/nats', 'test/unit/rabbitmq', 'test/unit/redis'] as const

const ENDING = ['SIGINT', 'SIGTERM'] as const

let isInterrupted = false
const args = process.argv.slice(2)
const soak = args.includes('--soak')
const words = args.includes('--conformance') ? conformanceFiles() : args.filter((arg) => arg !== '--soak')

const isWhole = words.length === 0
const needed = neededFor(words)
const before = new Set(needed.filter((name) => sharedBroker(name) !== undefined))
const starting = bringUp(needed, isWhole ? BROKER_NAMES : [])
// What needs no broker runs while they are started, and while everything is installed that tests would else wait for.
const fetching = isWhole ? Promise.allSettled([starting.then(fetchAhead), ensurePeers()]) : undefined
let code = isWhole ? await runVitest([], [...SHORT, '--no-isolate']) : 0
if (isWhole && !isInterrupted) code = (await runVitest([], [...BROKERLESS, ...without(SHORT)])) || code
const { failed } = await starting
const missing = failed.map(({ broker }) => broker)
if (!isInterrupted) code = (await runVitest(missing, isWhole ? without(BROKERLESS) : words)) || code
// A whole run ends with the files that need the machine for themselves: scenarios have deadlines.
if (isWhole && !isInterrupted) code = (await runVitest(missing, ['.alone.test.ts'], { BUSBAR_ALONE: '1' })) || code
for (const name of needed) if (!before.has(name)) await stopShared(name)
if (!isInterrupted) await fetching
process.exitCode = conclude(code, failed)
// What is being fetched would hold up the end of a run that was interrupted.
if (isInterrupted) process.exit()

/** The files of the named transports, or all. Options are passed on. */
function conformanceFiles(): readonly string[] {
  const rest = args.filter((arg) => arg !== '--soak' && arg !== '--conformance')
  const files = rest.map((arg) => (arg.startsWith('-') ? arg : `test/conformance/${arg}`))
  return files.some((file) => !file.startsWith('-')) ? files : ['test/conformance', ...files]
}

/**
 * Words that name neither a broker nor a folder where brokers are used need none; nor does Kafka, whose tests start their
 * own.
 */
function neededFor(filters: readonly string[]): readonly BrokerName[] {
  const chosen = filters.filter((word) => !word.startsWith('-') && word !== 'test/conformance')
  if (chosen.length === 0) return TESTED
  if (chosen.every((word) => /unit|types|package|memory|sqlite|kafka|oldest/.test(word))) return []
  const named = TESTED.filter((name) => chosen.some((word) => word.includes(name)))
  return named.length > 0 ? named : TESTED
}

/** Arguments for the other folders. */
function without(folders: readonly string[]): readonly string[] {
  return folders.flatMap((folder) => ['--exclude', `${folder}/**`])
}

/** The configuration excludes the files of missing brokers. */
function runVitest(
  missing: readonly BrokerName[],
  filters: readonly string[],
  more: Readonly<Record<string, string>> = {},
): Promise<number> {
  const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')
  const env = {
    ...process.env,
    BUSBAR_MISSING_BROKERS: missing.join(','),
    ...more,
    ...(soak ? { BUSBAR_SOAK: '1' } : {}),
  }
  // A process group, so that no worker outlives the run: a worker in a busy loop doesn't notice that its parent has
  // ended.
  const detached = process.platform !== 'win32'
  const child = spawn(process.execPath, [vitest, 'run', ...filters], { stdio: 'inherit', env, detached })
  const end = (signal: NodeJS.Signals): void => {
    try {
      if (detached && child.pid !== undefined) process.kill(-child.pid, signal)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
  const interrupt = (signal: NodeJS.Signals): void => {
    isInterrupted = true
    end(signal)
  }
  for (const signal of ENDING) process.on(signal, interrupt)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (status) => {
      for (const signal of ENDING) process.off(signal, interrupt)
      end('SIGKILL')
      resolve(status ?? 1)
    })
  })
}

function conclude(status: number, missing: readonly BrokerError[]): number {
  if (missing.length === 0) return status
  const inCi = process.env['CI'] !== undefined
  console.error(`\n${'!'.repeat(100)}`)
  for (const error of missing) console.error(`NOT TESTED on ${error.broker}: ${error.message}`)
  console.error(
    inCi ? 'With CI set, a missing broker is a failure.' : 'Everything above says nothing about these brokers.',
  )
  console.error('!'.repeat(100))
  return inCi && status === 0 ? 1 : status
}
