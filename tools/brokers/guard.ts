import { spawn } from 'node:child_process'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import type { ContainerPlan } from './blueprint.ts'
import type { ProcessRef } from './process.ts'

/** What must be removed when the process that started it has ended. */
export interface Watched {
  readonly dataDir: string
  readonly refs: readonly (ProcessRef | null)[]
  readonly container: ContainerPlan | undefined
}

export type GuardMessage =
  | { readonly kind: 'watch'; readonly id: string; readonly watched: Watched }
  | { readonly kind: 'release'; readonly id: string }

let guard: { readonly input: Socket } | undefined

/**
 * Private brokers end with the process that started them, even when it is killed: a small process waits on a pipe that
 * the kernel closes for us, and then cleans up.
 */
export function tellGuard(message: GuardMessage): void {
  guard ??= startGuard()
  guard.input.write(`${JSON.stringify(message)}\n`)
}

function startGuard(): { readonly input: Socket } {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'guard-process.ts')], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    // A test runner's own hooks are useless there.
    env: { ...process.env, NODE_OPTIONS: '' },
  })
  const input = child.stdin as Socket
  child.on('error', () => {
    guard = undefined
  })
  child.on('exit', () => {
    guard = undefined
  })
  input.on('error', () => {
    guard = undefined
  })
  child.unref()
  input.unref()
  return { input }
}
