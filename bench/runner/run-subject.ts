import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { parseCaseOutput } from '../harness/case-output.ts'
import type { CaseOutput } from '../harness/case-output.ts'
import type { Subject } from '../suites/suite.ts'
import { BENCH_FOLDER } from './folders.ts'

/** A case that hangs must not hang the run. */
const LIMIT_MS = 300_000
const STDERR_KEPT = 4_000

export interface RunLength {
  readonly warmupMs: number
  readonly measureMs: number
  readonly messages: number
}

export interface RunSubjectOptions {
  readonly length: RunLength
  readonly source: boolean
  /** URLs of the services. */
  readonly env: Readonly<Record<string, string>>
  readonly nodeArgs?: readonly string[]
}

export class CaseFailure extends Error {}

/** Runs a subject in a process of its own. Rejects with `CaseFailure`, which holds the end of what it wrote to stderr. */
export function runSubject(subject: Subject, options: RunSubjectOptions): Promise<CaseOutput> {
  const { length, source, env } = options
  const args = [
    ...(options.nodeArgs ?? []),
    ...(source ? ['--conditions=busbar-source'] : []),
    '--disable-warning=ExperimentalWarning',
    join(BENCH_FOLDER, subject.file),
    `--warmup-ms=${length.warmupMs}`,
    `--measure-ms=${length.measureMs}`,
    `--messages=${length.messages}`,
    // Last, so that a subject can set a length of its own.
    ...(subject.args ?? []),
  ]
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, {
      cwd: BENCH_FOLDER,
      env: { ...process.env, NODE_ENV: 'production', NODE_OPTIONS: '', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let stdout = ''
    let stderr = ''
    const limit = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS)
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-STDERR_KEPT)
    })
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(limit)
      const output = code === 0 ? parseCaseOutput(stdout) : undefined
      if (output !== undefined) resolve(output)
      else reject(new CaseFailure(`${subject.name} (${subject.file}) ended with ${signal ?? code}\n${stderr.trim()}`))
    })
  })
}
