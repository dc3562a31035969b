import { spawn } from 'node:child_process'
import { join } from 'node:path'

const main = join(import.meta.dirname, '../../examples/order-flow/main.ts')

/** How a run of the demo ended. */
export interface DemoRun {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs the demo with its temporary files in `folder`. `onOutput` sees what has come so far. */
export function runDemo(
  folder: string,
  args: readonly string[],
  onOutput?: (text: string, kill: (signal: NodeJS.Signals) => void) => void,
): Promise<DemoRun> {
  const child = spawn(process.execPath, ['--conditions=busbar-source', main, ...args], {
    cwd: folder,
    env: { ...process.env, TMPDIR: folder, TEMP: folder, TMP: folder, npm_lifecycle_event: 'test' },
  })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    onOutput?.(stdout, (signal) => child.kill(signal))
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const { promise, resolve, reject } = Promise.withResolvers<DemoRun>()
  child.on('error', reject)
  child.on('close', (code) => resolve({ code, stdout, stderr }))
  return promise
}
