import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { BENCH_FOLDER } from '../runner/folders.ts'

/** What a process of consumers is told, as its only argument. */
export interface ConsumerTask {
  readonly broker: string
  readonly url: string
  readonly topics: number
  readonly groups: number
}

/** How long 3,000 consumers may take to start. */
const START_LIMIT_MS = 300_000

/** Consumers that wait for messages, in a process of their own. */
export class ConsumerProcess implements AsyncDisposable {
  /** From the first connection until each of them waits. */
  readonly startMs: number
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, startMs: number) {
    this.#child = child
    this.startMs = startMs
  }

  /** Rejects when the consumers can't be started. */
  static async start(file: string, task: ConsumerTask, source: boolean): Promise<ConsumerProcess> {
    const child = fork(join(BENCH_FOLDER, file), [JSON.stringify(task)], {
      cwd: BENCH_FOLDER,
      env: { ...process.env, NODE_ENV: 'production', NODE_OPTIONS: '' },
      execArgv: [...(source ? ['--conditions=busbar-source'] : []), '--disable-warning=ExperimentalWarning'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    const limit = setTimeout(() => child.kill('SIGKILL'), START_LIMIT_MS)
    const ended = once(child, 'exit').then(([code, signal]) => {
      throw new Error(`The consumers of ${file} ended with ${signal ?? code} before they had started`)
    })
    const [startMs] = (await Promise.race([once(child, 'message'), ended]).finally(() => clearTimeout(limit))) as [
      number,
    ]
    ended.catch(() => {})
    return new ConsumerProcess(child, startMs)
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('The process of the consumers is not running')
    return this.#child.pid
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }
}

/** In the child: starts what `start` starts, tells the parent how long it took, and stays. */
export async function startConsumers(start: (task: ConsumerTask) => Promise<void>): Promise<void> {
  const task = JSON.parse(process.argv[2] ?? '{}') as ConsumerTask
  const before = performance.now()
  await start(task)
  process.send?.(performance.now() - before)
}
