import { rm } from 'node:fs/promises'
import type { Blueprint, ContainerPlan } from './blueprint.ts'
import { BrokerError } from './errors.ts'
import { exec, tail, which } from './exec.ts'
import type { ExecResult } from './exec.ts'
import { nodeSees } from './members.ts'
import { probe } from './probe.ts'
import type { Runtime } from './runtime.ts'
import { waitFor } from './wait.ts'

let answer: Promise<boolean> | undefined

/** True when an engine answers (a client alone does not count) and the compose plugin is installed. */
export function dockerAnswers(): Promise<boolean> {
  answer ??= ask()
  return answer
}

async function ask(): Promise<boolean> {
  if (which('docker') === undefined) return false
  const engine = await exec('docker', ['version', '--format', '{{.Server.Version}}'], { timeoutMs: 10_000 })
  if (engine.code !== 0 || engine.stdout.trim() === '') return false
  return (await exec('docker', ['compose', 'version'], { timeoutMs: 10_000 })).code === 0
}

export function compose(plan: ContainerPlan, ...args: readonly string[]): Promise<ExecResult> {
  const files = plan.files.flatMap((file) => ['-f', file])
  return exec('docker', ['compose', '-p', plan.project, ...files, ...args], {
    env: { ...process.env, ...plan.env },
    timeoutMs: 10 * 60_000,
  })
}

/** A private project is ours alone and is removed as a whole; in the shared one, other brokers stay. */
export async function removeContainer(plan: ContainerPlan): Promise<void> {
  if (plan.exclusive) await compose(plan, 'down', '--volumes', '--timeout', '0')
  else await compose(plan, 'rm', '--stop', '--force', '--volumes', plan.service)
}

/** Brokers as containers, through compose. */
export function dockerRuntime(blueprint: Blueprint, plan: ContainerPlan): Runtime {
  const { name, host, port } = blueprint
  const run = async (...args: readonly string[]): Promise<string> => {
    const result = await compose(plan, ...args)
    if (result.code === 0) return result.stdout
    throw new BrokerError('start-failed', name, `docker compose ${args.join(' ')} failed:\n${tail(result.stderr)}`)
  }
  const logs = (lines: number): Promise<string> =>
    run('logs', '--no-color', '--no-log-prefix', '--tail', String(lines), plan.service)
  const isReady = async (): Promise<boolean> =>
    (await probe(name, { host, port })) && (name !== 'kafka' || nodeSees(blueprint, undefined, 1))
  return {
    pid: () => undefined,
    start: async () => {
      await run('up', '--detach', plan.service)
      if ((await waitFor(isReady, { timeoutMs: blueprint.readyTimeoutMs })) === true) return
      const why = `was not ready within ${blueprint.readyTimeoutMs} ms; the end of its log:\n${await logs(15)}`
      throw new BrokerError('start-failed', name, `the container ${why}`)
    },
    kill: async () => {
      await run('kill', '--signal', 'SIGKILL', plan.service)
    },
    halt: async () => {
      await run('stop', '--timeout', '30', plan.service)
    },
    pause: async () => {
      await run('pause', plan.service)
    },
    resume: async () => {
      await run('unpause', plan.service)
    },
    logs,
    destroy: async () => {
      await removeContainer(plan)
      await rm(blueprint.dataDir, { recursive: true, force: true })
    },
  }
}
