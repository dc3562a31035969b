import { spawn } from 'node:child_process'

/** Something outside of the benchmarks failed, and npm has said what. */
export class NpmFailure extends Error {}

/** Runs npm with everything it prints on our stderr, where it can't mix with `--json`. */
export function runNpm(args: readonly string[], cwd: string): Promise<void> {
  const script = process.env['npm_execpath']
  const [file, ...first] = script === undefined ? ['npm'] : [process.execPath, script]
  return new Promise((resolve, reject) => {
    const child = spawn(file ?? 'npm', [...first, ...args], { cwd, stdio: ['ignore', process.stderr, process.stderr] })
    child.on('error', reject)
    child.on('close', (code) => {
      if (code === 0) resolve()
      else reject(new NpmFailure(`npm ${args.join(' ')} ended with code ${code}`))
    })
  })
}
