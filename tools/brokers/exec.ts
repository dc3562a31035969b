import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

export interface ExecOptions {
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  readonly timeoutMs?: number
}

export interface ExecResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program to its end; never rejects: a program that can't be started has code -1 and the reason in `stderr`. */
export function exec(file: string, args: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
  const { promise, resolve } = Promise.withResolvers<ExecResult>()
  const settings = {
    env: options.env ?? process.env,
    cwd: options.cwd,
    timeout: options.timeoutMs ?? 0,
    maxBuffer: 64 * 1024 * 1024,
  }
  execFile(file, [...args], settings, (error, stdout, stderr) => {
    if (error === null) resolve({ code: 0, stdout, stderr })
    else if (typeof error.code === 'number') resolve({ code: error.code, stdout, stderr })
    else resolve({ code: -1, stdout, stderr: stderr || error.message })
  })
  return promise
}

/** Folders that contain servers but are not on a user's PATH. */
const EXTRA_DIRS: readonly string[] = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/opt/homebrew/sbin']

export function which(program: string, first: readonly string[] = []): string | undefined {
  const path = (process.env['PATH'] ?? '').split(delimiter).filter((dir) => dir !== '')
  return [...first, ...path, ...EXTRA_DIRS].map((dir) => join(dir, program)).find(isExecutable)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** The last lines of a program's output, for an error message. */
export function tail(text: string, lines = 12): string {
  return text.trimEnd().split('\n').slice(-lines).join('\n')
}
