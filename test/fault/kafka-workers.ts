import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { WorkerNotice, WorkerTask } from './kafka-worker.ts'

const PROGRAM = new URL('kafka-worker.ts', import.meta.url)

/** Processes that do the same, and are started again when they have ended. */
export class KafkaWorkers {
  readonly #taskOf: (slot: number) => WorkerTask
  readonly #notice: (notice: WorkerNotice) => void
  readonly #running = new Map<number, ChildProcess>()
  #isClosed = false
  killed = 0
  /** Ended by themselves. */
  failures: string[] = []

  constructor(taskOf: (slot: number) => WorkerTask, notice: (notice: WorkerNotice) => void) {
    this.#taskOf = taskOf
    this.#notice = notice
  }

  start(count: number): void {
    for (let slot = 0; slot < count; slot++) this.#start(slot)
  }

  /** SIGKILL; another takes its place at once. */
  async kill(slot: number): Promise<void> {
    const child = this.#running.get(slot)
    if (child === undefined) return
    this.killed++
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  async close(): Promise<void> {
    this.#isClosed = true
    const ended = [...this.#running.values()].map(async (child) => {
      child.kill('SIGKILL')
      await once(child, 'exit')
    })
    await Promise.all(ended)
  }

  #start(slot: number): void {
    const child = fork(PROGRAM, [JSON.stringify(this.#taskOf(slot))], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    let errors = ''
    child.stderr?.on('data', (text: Buffer) => (errors = `${errors}${text.toString()}`.slice(-2_000)))
    child.on('message', (notice) => this.#notice(notice as WorkerNotice))
    this.#running.set(slot, child)
    child.once('exit', (code, signal) => {
      this.#running.delete(slot)
      if (signal === null) this.failures.push(`ended with ${code}: ${errors}`)
      if (!this.#isClosed) this.#start(slot)
    })
  }
}
