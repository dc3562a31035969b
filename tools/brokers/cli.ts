import { parseArgs } from 'node:util'
import { urlVariable } from './given.ts'
import { notice } from './notice.ts'
import { bringUp, sharedBroker, stopShared } from './shared.ts'
import { brokerStatus } from './status.ts'
import type { BrokerStatus } from './status.ts'
import { BROKER_NAMES } from './types.ts'
import type { Broker, BrokerName } from './types.ts'

const USAGE = `Usage: npm run brokers -- <command> [names] [--json]

  up        start brokers (default: all five) and wait until they answer
  down      stop them and remove their data
  status    name, state, source, version, process, uptime, URL; --json for programs
  env       print "export BUSBAR_TEST_X_URL=..." for a shell's eval (use: npm run -s brokers -- env)

  restart, kill (SIGKILL), pause (SIGSTOP), resume
            faults by hand; kill and restart keep port and data

names: ${BROKER_NAMES.join(' ')}
`

const COMMANDS: Readonly<Record<string, (names: readonly BrokerName[], json: boolean) => Promise<number>>> = {
  up,
  down,
  status,
  env,
  restart: (names) => forEach(names, 'restarted', (broker) => broker.restart()),
  kill: (names) => forEach(names, 'killed', (broker) => broker.kill()),
  pause: (names) => forEach(names, 'paused', (broker) => broker.pause()),
  resume: (names) => forEach(names, 'resumed', (broker) => broker.resume()),
}

process.exitCode = await main(process.argv.slice(2))

async function main(argv: readonly string[]): Promise<number> {
  let parsed: { readonly positionals: string[]; readonly values: { readonly json?: boolean; readonly help?: boolean } }
  try {
    const options = { json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } as const
    parsed = parseArgs({ args: [...argv], allowPositionals: true, options })
  } catch (error) {
    return usage(error instanceof Error ? error.message : String(error))
  }
  if (parsed.values.help === true) {
    process.stdout.write(USAGE)
    return 0
  }
  const [name = '', ...rest] = parsed.positionals
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (command === undefined) return usage(name === '' ? 'a command is missing' : `no command "${name}"`)
  const unknown = rest.filter((text) => !isBrokerName(text))
  if (unknown.length > 0) return usage(`no broker "${unknown.join('", "')}"`)
  const names = rest.length === 0 ? BROKER_NAMES : rest.filter(isBrokerName)
  return command([...new Set(names)], parsed.values.json === true)
}

function isBrokerName(text: string): text is BrokerName {
  return (BROKER_NAMES as readonly string[]).includes(text)
}

function usage(problem: string): number {
  process.stderr.write(`${problem}\n\n${USAGE}`)
  return 2
}

async function up(names: readonly BrokerName[]): Promise<number> {
  const { up: running, failed } = await bringUp(names)
  for (const error of failed) notice(error.message)
  const code = await status(
    running.map((broker) => broker.name),
    false,
  )
  if (failed.length === 0) return code
  notice(`not started: ${failed.map((error) => error.broker).join(', ')} (the reasons stand above)`)
  return 1
}

function down(names: readonly BrokerName[]): Promise<number> {
  return together(names, async (name) => notice(`${name} ${(await stopShared(name)) ? 'stopped' : 'was not running'}`))
}

function forEach(
  names: readonly BrokerName[],
  done: string,
  action: (broker: Broker) => Promise<void>,
): Promise<number> {
  return together(names, async (name) => {
    const broker = sharedBroker(name)
    if (broker === undefined) throw new Error(`${name} is not running`)
    await action(broker)
    notice(`${name} ${done}`)
  })
}

async function together(names: readonly BrokerName[], action: (name: BrokerName) => Promise<void>): Promise<number> {
  const results = await Promise.allSettled(names.map(action))
  const failures = results.filter((result) => result.status === 'rejected')
  for (const { reason } of failures) notice(reason instanceof Error ? reason.message : String(reason))
  return failures.length === 0 ? 0 : 1
}

/** Exits with 0 when all requested brokers are healthy: usable as a condition in a script. */
async function status(names: readonly BrokerName[], json: boolean): Promise<number> {
  const rows = await Promise.all(names.map(brokerStatus))
  process.stdout.write(json ? `${JSON.stringify(rows, null, 2)}\n` : table(rows))
  return rows.every((row) => row.state === 'healthy') ? 0 : 1
}

function table(rows: readonly BrokerStatus[]): string {
  const head = ['name', 'state', 'source', 'version', 'pid', 'uptime', 'url']
  const body = rows.map(({ name, state, source, version, pid, uptimeMs, url }) => {
    const uptime = uptimeMs === undefined ? '' : `${Math.round(uptimeMs / 1000)} s`
    return [name, state, source ?? '', version ?? '', String(pid ?? ''), uptime, url ?? '']
  })
  const widths = head.map((title, column) => Math.max(title.length, ...body.map((row) => row[column]?.length ?? 0)))
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd()
  return `${[head, ...body].map(line).join('\n')}\n`
}

async function env(names: readonly BrokerName[]): Promise<number> {
  const missing: BrokerName[] = []
  for (const name of names) {
    const broker = sharedBroker(name)
    if (broker === undefined) missing.push(name)
    else process.stdout.write(`export ${urlVariable(name)}='${broker.url}'\n`)
  }
  if (missing.length > 0) notice(`not running: ${missing.join(', ')}; npm run brokers -- up ${missing.join(' ')}`)
  return missing.length === 0 ? 0 : 1
}
