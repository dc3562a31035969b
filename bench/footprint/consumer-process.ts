import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { BENCH_FOLDER } from '../runner/folders.ts'
import type { HandOver } from './hand-over.ts'

/** What a process of consumers is told, as its only argument. */
export interface ConsumerTask {
  readonly broker: string
  readonly url: string
  readonly topics: number
  readonly groups: number
  /** Of each group, each with a connection of its own. */
  readonly members: number
  /** So many keys of each topic have had a message before the process says that it has started. */
  readonly keys: number
  /** Options of Busbar's transport, as parameters of its URL; empty: all by default. */
  readonly options: string
}

/** What consumers can be asked to do once they have started. */
export interface StartedConsumers {
  readonly handOver: () => Promise<HandOver>
}

/** How long 3,000 consumers may take to start. */
const START_LIMIT_MS = 300_000

/** Consumers that wait for messages, in a process of their own. */
export class ConsumerProcess implements AsyncDisposable {
  /** From the first connection until each of them waits. */
  readonly startMs: number
  readonly #child: ChildProcess
  readonly #ended: Promise<never>

  private constructor(child: ChildProcess, ended: Promise<never>, startMs: number) {
    this.#child = child
    this.#ended = ended
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
    const ended = once(child, 'exit').then(([code, signal]): never => {
      throw new Error(`The consumers of ${file} ended with ${signal ?? code}`)
    })
    ended.catch(() => {})
    const [startMs] = (await Promise.race([once(child, 'message'), ended]).finally(() => clearTimeout(limit))) as [
      number,
    ]
    return new ConsumerProcess(child, ended, startMs)
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('The process of the consumers is not running')
    return this.#child.pid
  }

  /** Lets a member join and another one leave. Rejects when the process ends instead. */
  async handOver(): Promise<HandOver> {
    const answer = once(this.#child, 'message')
    this.#child.send('hand over')
    const [figures] = (await Promise.race([answer, this.#ended])) as [HandOver]
    return figures
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }
}

/**
 * In the child: starts what `start` starts, tells the parent how long it took, and stays. Without something to ask for, the
 * consumers only wait.
 */
export async function startConsumers(start: (task: ConsumerTask) => Promise<StartedConsumers | void>): Promise<void> {
  const task = JSON.parse(process.argv[2] ?? '{}') as ConsumerTask
  const before = performance.now()
  const consumers = await start(task)
  process.send?.(performance.now() - before)
  if (consumers !== undefined)
    process.once('message', () => {
      void consumers.handOver().then((figures) => process.send?.(figures))
    })
}
