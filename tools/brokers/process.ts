import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { isStopped, listProcesses } from './process-list.ts'
import type { ProcessInfo } from './process-list.ts'
import { waitFor } from './wait.ts'

/** Plain data, so that another process can read it from the state file and start the broker again. */
export interface Command {
  readonly file: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  readonly logFile: string
}

/** A pid alone may belong to another process by now; together with its start time it can't. */
export interface ProcessRef {
  readonly pid: number
  readonly startedToken: string
}

/** Starts a process that outlives this one, writing to its log file. */
export async function spawnDetached(command: Command): Promise<ProcessRef> {
  const log = openSync(command.logFile, 'a')
  try {
    const child = spawn(command.file, [...command.args], {
      cwd: command.cwd,
      env: command.env,
      detached: true,
      stdio: ['ignore', log, log],
    })
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    child.once('spawn', resolve)
    child.once('error', reject)
    await promise
    child.unref()
    const pid = child.pid
    if (pid === undefined) throw new Error(`${command.file} has no process id`)
    return { pid, startedToken: listProcesses().find((entry) => entry.pid === pid)?.startedToken ?? 'ended' }
  } finally {
    closeSync(log)
  }
}

export function isAlive(ref: ProcessRef): boolean {
  return listProcesses(ref.pid).some((entry) => entry.pid === ref.pid && entry.startedToken === ref.startedToken)
}

/**
 * The process, its group and everything below it. PostgreSQL puts each child into its own group and RabbitMQ's script
 * starts the server as a child, so neither the pid nor the group alone reaches all.
 */
export function processTree(ref: ProcessRef): readonly ProcessInfo[] {
  const all = listProcesses()
  const root = all.find((entry) => entry.pid === ref.pid)
  if (root !== undefined && root.startedToken !== ref.startedToken) return []
  const members = new Set(all.filter((entry) => entry.pgid === ref.pid).map((entry) => entry.pid))
  if (root !== undefined) members.add(root.pid)
  for (let grown = true; grown;) {
    const children = all.filter((entry) => members.has(entry.ppid) && !members.has(entry.pid))
    for (const child of children) members.add(child.pid)
    grown = children.length > 0
  }
  return all.filter((entry) => members.has(entry.pid))
}

export function signalTree(ref: ProcessRef, signal: NodeJS.Signals): readonly ProcessInfo[] {
  const tree = processTree(ref)
  for (const entry of tree) send(entry.pid, signal)
  return tree
}

/** Sends SIGSTOP to the whole tree; resolves when none of its threads runs any more. */
export async function stopTree(ref: ProcessRef): Promise<void> {
  const tree = signalTree(ref, 'SIGSTOP')
  const stopped = await waitFor(() => tree.every(({ pid }) => isStopped(pid)), { timeoutMs: 10_000, intervalMs: 2 })
  if (stopped === undefined) throw new Error(`process ${ref.pid} did not stop after SIGSTOP`)
}

/** Sends SIGKILL to the whole tree; resolves when all of its processes have ended. */
export async function killTree(ref: ProcessRef): Promise<void> {
  const tree = signalTree(ref, 'SIGKILL')
  const gone = await waitFor(() => !tree.some(isAlive), { timeoutMs: 10_000, intervalMs: 5 })
  if (gone === undefined) throw new Error(`process ${ref.pid} did not end after SIGKILL`)
}

/** Asks the main process to end, then kills what is left at the deadline. */
export async function endTree(ref: ProcessRef, signal: NodeJS.Signals, timeoutMs: number): Promise<void> {
  const tree = processTree(ref)
  // A stopped process would not receive the signal.
  for (const entry of tree) send(entry.pid, 'SIGCONT')
  if (isAlive(ref)) send(ref.pid, signal)
  await waitFor(() => !isAlive(ref), { timeoutMs })
  await killTree(ref)
  for (const entry of tree) if (isAlive(entry)) send(entry.pid, 'SIGKILL')
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
