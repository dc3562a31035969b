// An order system of five services over one broker. `npm run demo -- --help` shows the options.

import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ConfigurationError, createBus } from 'busbar'
import { HELP, parseArguments } from './arguments.ts'
import type { Arguments } from './arguments.ts'
import { createView, quietView } from './create-view.ts'
import { runFlow } from './flow.ts'
import type { FlowResult } from './flow.ts'
import { count } from './format.ts'
import { prepareInput } from './input.ts'
import { InputError } from './input-error.ts'
import { chooseKill } from './kill-plan.ts'
import type { KillPlan } from './kill-plan.ts'
import { choosePlace } from './place.ts'
import { explain, summarize } from './summary.ts'

const EXIT = { accountedFor: 0, failed: 1, badInput: 2, interrupted: 130 } as const

/** Runs the demo with all its files in `folder`. Resolves with the exit code. */
async function run(args: Arguments, folder: string, signal: AbortSignal): Promise<number> {
  const { path: input, total } = await prepareInput(args, folder)
  const kill = chooseKill(args, total)
  const runId = randomUUID().slice(0, 8)
  const stateDir = join(folder, 'services')
  const { transport, workers, leaseMs } = await choosePlace(args.transport, { folder, stateDir, run: runId })
  const bus = createBus({ service: 'control-tower', transport, logger: false })

  const title = [`${count(total)} orders`, transport.system, workers.description]
  if (kill !== undefined) title.push(`--kill --seed ${kill.seed}`)
  const view = args.json ? quietView(title.join(' · '), process.stderr) : createView(title.join(' · '), process.stdout)
  try {
    await bus.start()
    const result = await runFlow({ bus, workers, leaseMs, view, stateDir, run: runId, input, total, kill, signal })
    view.end()
    await workers.close()
    await bus.close()
    process.stdout.write(args.json ? `${JSON.stringify(summarize(transport.system, result))}\n` : explain(result))
    return isFine(result, kill) ? EXIT.accountedFor : EXIT.failed
  } finally {
    // Cleans up after a failure. Errors here are ignored: the failure is what to report.
    await Promise.allSettled([workers.close(), bus.close()])
  }
}

function isFine(result: FlowResult, kill: KillPlan | undefined): boolean {
  const killedAsPlanned = kill === undefined || result.killed === 1
  return killedAsPlanned && result.missing.length === 0 && result.shippedTwice.length === 0
}

async function main(): Promise<number> {
  // npm runs scripts in the package's folder, but users' paths are relative to where they are.
  if (process.env['npm_lifecycle_event'] === 'demo') process.chdir(process.env['INIT_CWD'] ?? '.')
  const args = parseArguments(process.argv.slice(2))
  if (args.help) {
    process.stdout.write(HELP)
    return EXIT.accountedFor
  }
  const stopping = new AbortController()
  process.once('SIGINT', () => stopping.abort())
  process.once('SIGTERM', () => stopping.abort())
  const folder = await mkdtemp(join(tmpdir(), 'busbar-order-flow-'))
  try {
    return await run(args, folder, stopping.signal)
  } catch (error) {
    if (!stopping.signal.aborted) throw error
    process.stderr.write('stopped\n')
    return EXIT.interrupted
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

try {
  process.exitCode = await main()
} catch (error) {
  const isTheirs = error instanceof InputError || ConfigurationError.is(error)
  process.stderr.write(`${isTheirs ? error.message : (error as Error).stack}\n`)
  process.exitCode = isTheirs ? EXIT.badInput : EXIT.failed
}
