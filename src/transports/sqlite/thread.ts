import { Worker } from 'node:worker_threads'
import { systemClock } from '../../core/clock.ts'
import { settledWithin } from '../../core/util/settled-within.ts'
import type { Command, Reply, ThreadError, WorkerSettings } from './protocol.ts'
import { findWorkerFile, requireSqlite } from './worker-file.ts'

/** The database thread ended before it answered. Whether it did the work is unknown. */
export class ThreadGoneError extends Error {}

/** The database thread refused: it gives the reason, and has done nothing. */
export class ThreadRefusedError extends Error {
  readonly thread: ThreadError

  constructor(thread: ThreadError) {
    super(thread.message)
    this.thread = thread
  }
}

type Answer = Extract<Reply, { call: number }>
/** A command that gets an answer, without its call number. */
export type Question = Command extends infer Each ? (Each extends { call: number } ? Omit<Each, 'call'> : never) : never

export interface ThreadListener {
  /** Called with everything that the thread sends unasked. */
  told(reply: Exclude<Reply, { call: number }>): void
  /** The thread ended unexpectedly. All open calls have been rejected before. */
  died(error: Error): void
}

interface Call {
  readonly answered: (() => void) | undefined
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: Error) => void
}

/** A worker thread with one connection to the file. Commands of one turn of the event loop are sent together. */
export class DatabaseThread {
  readonly #worker: Worker
  readonly #listener: ThreadListener
  readonly #calls = new Map<number, Call>()
  readonly #exited: Promise<void>
  readonly #opened: Promise<void>
  #settleOpened: { resolve: () => void; reject: (error: Error) => void } | undefined
  #lastCall = 0
  #commands: Command[] = []
  #transfer: ArrayBuffer[] = []
  #crash: Error | undefined
  #gone = false
  #closing = false

  /** Throws `UnsupportedError` or `ConnectionError` where such a thread can't run. */
  constructor(settings: WorkerSettings, listener: ThreadListener) {
    this.#listener = listener
    requireSqlite()
    this.#worker = new Worker(findWorkerFile(), { workerData: settings, name: 'busbar-sqlite' })
    this.#opened = new Promise((resolve, reject) => {
      this.#settleOpened = { resolve, reject }
    })
    this.#exited = new Promise((resolve) => {
      this.#worker.once('exit', (code) => {
        this.#end(code)
        resolve()
      })
    })
    this.#worker.on('message', (replies: readonly Reply[]) => {
      for (const reply of replies) this.#hear(reply)
    })
    this.#worker.on('error', (error) => {
      this.#crash = error instanceof Error ? error : new Error(String(error))
    })
  }

  /** Resolves when the file is open; rejects with `ThreadRefusedError` or `ThreadGoneError`. */
  get opened(): Promise<void> {
    return this.#opened
  }

  send(command: Command, transfer?: readonly ArrayBuffer[]): void {
    if (this.#gone) return
    if (this.#commands.length === 0) queueMicrotask(() => this.#flush())
    this.#commands.push(command)
    if (transfer !== undefined) this.#transfer.push(...transfer)
  }

  /**
   * Rejects with `ThreadRefusedError` or `ThreadGoneError`. `answered` is called before the promise settles, and before
   * anything that the thread sent later is handled.
   */
  ask(question: Question, transfer?: readonly ArrayBuffer[], answered?: () => void): Promise<Answer> {
    if (this.#gone) {
      answered?.()
      return Promise.reject(new ThreadGoneError('The database thread has ended'))
    }
    const call = ++this.#lastCall
    return new Promise((resolve, reject) => {
      this.#calls.set(call, { resolve, reject, answered })
      this.send({ ...question, call }, transfer)
    })
  }

  #flush(): void {
    const commands = this.#commands
    const transfer = this.#transfer
    this.#commands = []
    this.#transfer = []
    if (!this.#gone) this.#worker.postMessage(commands, transfer)
  }

  #hear(reply: Reply): void {
    if ('call' in reply) {
      const call = this.#calls.get(reply.call)
      this.#calls.delete(reply.call)
      call?.answered?.()
      if (reply.kind === 'failed') call?.reject(new ThreadRefusedError(reply.error))
      else call?.resolve(reply)
    } else if (reply.kind === 'opened') this.#settleOpened?.resolve()
    else if (reply.kind === 'not-opened') this.#settleOpened?.reject(new ThreadRefusedError(reply.error))
    else if (reply.kind === 'ping') this.send({ kind: 'pong' })
    else this.#listener.told(reply)
  }

  #end(code: number): void {
    this.#gone = true
    const error = new ThreadGoneError(
      this.#closing ? 'The SQLite transport was closed' : `The database thread ended by itself (exit code ${code})`,
      this.#crash === undefined ? undefined : { cause: this.#crash },
    )
    // No effect if it was already opened or refused.
    this.#settleOpened?.reject(error)
    const calls = [...this.#calls.values()]
    this.#calls.clear()
    for (const call of calls) {
      call.answered?.()
      call.reject(error)
    }
    if (!this.#closing) this.#listener.died(error)
  }

  /** Lets the thread finish its work and close the file; terminates it when that takes too long. */
  async close(deadlineMs: number): Promise<void> {
    this.#closing = true
    if (!this.#gone) this.ask({ kind: 'close' }).catch(() => {})
    if (!(await settledWithin(systemClock, Math.max(0, deadlineMs), this.#exited))) await this.terminate()
  }

  async terminate(): Promise<void> {
    this.#closing = true
    await this.#worker.terminate()
    await this.#exited
  }
}
