import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { FromWorker, ToWorker } from './worker.ts'
import { addStats, NO_STATS } from './workers.ts'
import type { Workers } from './workers.ts'
import type { ServiceStats } from './service.ts'
import { services } from './services/index.ts'

const STOP_WITHIN_MS = 15_000

interface Worker {
  readonly process: ChildProcess
  /** Resolves when the process has ended. */
  readonly gone: Promise<void>
  stats: ServiceStats
  /** The parent has stopped or killed it. */
  ending: boolean
}

/** Each service in a separate process, connected only by the broker. */
export function workerProcesses(options: {
  readonly url: string
  readonly stateDir: string
  readonly run: string
}): Workers {
  const running = new Map<string, Worker>()
  const { promise: failed, reject: fail } = Promise.withResolvers<never>()
  // It is raced against; its rejection alone must not end the process.
  failed.catch(() => {})
  let past = NO_STATS

  function spawn(service: string): Worker {
    // Workers print nothing. If one does anyway, stdout stays clean.
    const child = fork(fileURLToPath(new URL('worker.ts', import.meta.url)), { stdio: ['ignore', 2, 2, 'ipc'] })
    const worker: Worker = { process: child, gone: once(child, 'close').then(() => {}), stats: NO_STATS, ending: false }
    child.on('message', (message: FromWorker) => {
      if (message.type === 'stats') worker.stats = message.stats
    })
    child.on('error', (error) => fail(new Error(`the ${service} worker failed`, { cause: error })))
    child.on('close', (code, signal) => {
      running.delete(service)
      past = addStats(past, worker.stats)
      const expected = worker.ending && (code === 0 || signal === 'SIGKILL')
      if (!expected) fail(new Error(`the ${service} worker ended by itself (${signal ?? `code ${code}`})`))
    })
    running.set(service, worker)
    return worker
  }

  function find(service: string): Worker {
    const worker = running.get(service)
    if (worker === undefined) throw new Error(`the ${service} worker is not running`)
    worker.ending = true
    return worker
  }

  async function stop(service: string): Promise<void> {
    const worker = find(service)
    let late = false
    const deadline = setTimeout(() => {
      late = true
      worker.process.kill('SIGKILL')
    }, STOP_WITHIN_MS)
    send(worker.process, { type: 'stop' })
    await worker.gone
    clearTimeout(deadline)
    if (late) throw new Error(`the ${service} worker did not stop within ${STOP_WITHIN_MS} ms`)
  }

  async function close(): Promise<void> {
    await Promise.all([...running.keys()].map(stop))
  }

  return {
    description: `${services.length} worker processes`,
    failed,

    async start(service, { fixed }) {
      const { process } = spawn(service)
      const ready = once(process, 'message')
      send(process, { type: 'start', service, ...options, fixed })
      await Promise.race([ready, failed])
    },

    stop,

    async kill(service) {
      const worker = find(service)
      worker.process.kill('SIGKILL')
      await worker.gone
      return worker.process.pid ?? 0
    },

    totals: () => [...running.values()].reduce((sum, worker) => addStats(sum, worker.stats), past),

    close,
  }
}

function send(process: ChildProcess, message: ToWorker): void {
  // The 'close' event reports a worker that has already ended.
  process.send(message, () => {})
}
