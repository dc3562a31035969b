import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import type { Blueprint, ProcessPlan } from './blueprint.ts'
import { BrokerError } from './errors.ts'
import { tail } from './exec.ts'
import { nodeSees } from './members.ts'
import { accepts, probe } from './probe.ts'
import { endTree, isAlive, killTree, signalTree, spawnDetached, stopTree } from './process.ts'
import type { ProcessRef } from './process.ts'
import type { Runtime } from './runtime.ts'
import { waitFor } from './wait.ts'

const GRACEFUL_MS = 30_000

export type RefsChanged = (refs: readonly (ProcessRef | null)[]) => void

/** Control of one process of a broker. */
export interface Unit extends Omit<Runtime, 'destroy'> {
  readonly plan: ProcessPlan
  ref(): ProcessRef | null
  ready(): Promise<void>
}

/** Brokers as processes of this machine. `refs` are those of an instance that is already running. */
export function localRuntime(
  blueprint: Blueprint,
  refs: readonly (ProcessRef | null)[],
  changed: RefsChanged,
): Runtime & { readonly units: readonly Unit[] } {
  const units: readonly Unit[] = blueprint.processes.map((plan, index) =>
    createUnit(blueprint, plan, refs[index] ?? null, () => changed(units.map((unit) => unit.ref()))),
  )
  const nodes = units.filter(({ plan }) => plan.role !== 'helper')
  const helpers = units.filter(({ plan }) => plan.role === 'helper')
  const all = async (some: readonly Unit[], action: (unit: Unit) => Promise<void>): Promise<void> => {
    await Promise.all(some.map(action))
  }
  const each = (action: (unit: Unit) => Promise<void>): Promise<void> => all(units, action)
  return {
    units: nodes,
    pid: () => nodes[0]?.pid(),
    start: async () => {
      await all(helpers, (unit) => unit.start())
      await all(nodes, (unit) => unit.start())
      if (nodes.length > 1) await allMembers(blueprint, nodes)
    },
    kill: () => each((unit) => unit.kill()),
    halt: async () => {
      await all(nodes, (unit) => unit.halt())
      await all(helpers, (unit) => unit.halt())
    },
    pause: () => each((unit) => unit.pause()),
    resume: () => each((unit) => unit.resume()),
    logs: async (lines) => (await Promise.all(nodes.map((unit) => unit.logs(lines)))).join('\n'),
    destroy: async () => {
      // The data is removed too, so a graceful end would save nothing.
      await each((unit) => unit.kill())
      await rm(blueprint.dataDir, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

/** Nodes of a cluster come up one by one; a test that asked for three should find three. */
async function allMembers(blueprint: Blueprint, nodes: readonly Unit[]): Promise<void> {
  const { name, readyTimeoutMs } = blueprint
  const seen = async (): Promise<boolean> => {
    // One after the other: each query to RabbitMQ starts an Erlang VM.
    for (const { plan } of nodes) if (!(await nodeSees(blueprint, plan, nodes.length))) return false
    return true
  }
  if ((await waitFor(seen, { timeoutMs: readyTimeoutMs })) === true) return
  throw new BrokerError('start-failed', name, `its ${nodes.length} nodes did not find each other`)
}

function createUnit(blueprint: Blueprint, plan: ProcessPlan, running: ProcessRef | null, changed: () => void): Unit {
  const { name, host } = blueprint
  let ref = running
  let logStart = 0
  const living = (): ProcessRef | undefined => (ref !== null && isAlive(ref) ? ref : undefined)
  const set = (next: ProcessRef | null): void => {
    ref = next
    changed()
  }
  const isReady = async (): Promise<boolean> => {
    const target = { host, port: plan.port }
    if (plan.role === 'helper') return accepts(target)
    if (!(await probe(name, target))) return false
    if (plan.readyLog !== undefined && !readLog(plan.command.logFile, logStart).includes(plan.readyLog)) return false
    return name !== 'kafka' || nodeSees(blueprint, plan, 1)
  }
  const ready = async (): Promise<void> => {
    const verdict = await waitFor(async () => (living() === undefined ? 'ended' : (await isReady()) && 'ready'), {
      timeoutMs: blueprint.readyTimeoutMs,
    })
    if (verdict === 'ready') return
    const what = verdict === 'ended' ? 'ended while it started' : `was not ready within ${blueprint.readyTimeoutMs} ms`
    const log = lastLines(plan.command.logFile, 15)
    if (ref !== null) await killTree(ref)
    set(null)
    throw new BrokerError('start-failed', name, `the process ${what}; the end of ${plan.command.logFile}:\n${log}`)
  }
  return {
    plan,
    ref: () => ref,
    pid: () => living()?.pid,
    ready,
    start: async () => {
      if (living() === undefined) {
        // Children of a killed process may still be ending and hold its port or files.
        if (ref !== null) await killTree(ref)
        logStart = sizeOf(plan.command.logFile)
        set(await spawnDetached(plan.command))
      }
      await ready()
    },
    kill: async () => {
      if (ref !== null) await killTree(ref)
      set(null)
    },
    halt: async () => {
      if (ref !== null) await endTree(ref, plan.stopSignal, GRACEFUL_MS)
      set(null)
    },
    pause: async () => {
      if (ref !== null) await stopTree(ref)
    },
    resume: async () => {
      if (ref !== null) signalTree(ref, 'SIGCONT')
    },
    logs: async (lines) => lastLines(plan.command.logFile, lines),
  }
}

const LOG_WINDOW = 256 * 1024

function lastLines(file: string, lines: number): string {
  return tail(readLog(file, sizeOf(file) - LOG_WINDOW), lines)
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0
}

function readLog(file: string, from: number): string {
  const start = Math.max(0, from)
  const buffer = Buffer.alloc(Math.max(0, sizeOf(file) - start))
  if (buffer.length === 0) return ''
  const handle = openSync(file, 'r')
  try {
    const length = readSync(handle, buffer, 0, buffer.length, start)
    return buffer.toString('utf8', 0, length)
  } finally {
    closeSync(handle)
  }
}
