import { parentPort, workerData } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import { StateError } from '../../core/errors.ts'
import type { Command, Reply, WorkerSettings } from './protocol.ts'

// Entry of the database thread. Everything synchronous and slow happens here, off the handlers' thread.

if (parentPort === null)
  throw new StateError(
    'busbar/sqlite/worker is the file of a thread that the SQLite transport starts: do not import it',
  )

muteSqliteWarning()
// No top-level `await`: bundlers can't turn it into CommonJS. A failure ends the thread with its error.
void serve(parentPort)

async function serve(port: MessagePort): Promise<void> {
  const [{ Engine }, { toThreadError }] = await Promise.all([
    import('./worker/engine.ts'),
    import('./worker/database.ts'),
  ])
  const post = (replies: readonly Reply[], transfer: ArrayBuffer[]): void => port.postMessage(replies, transfer)
  try {
    const engine = new Engine(workerData as WorkerSettings, post, () => port.close())
    port.on('message', (commands: readonly Command[]) => engine.push(commands))
    post([{ kind: 'opened' }], [])
  } catch (error) {
    post([{ kind: 'not-opened', error: toThreadError(error) }], [])
    port.close()
  }
}

/** Node 22 warns on stderr, once per process, that SQLite is experimental. What we use of it is the same in 22 and 24. */
function muteSqliteWarning(): void {
  const emit = process.emitWarning.bind(process)
  process.emitWarning = (warning: string | Error, ...rest: unknown[]): void => {
    if (String(warning).startsWith('SQLite is an experimental feature')) return
    ;(emit as (warning: string | Error, ...rest: unknown[]) => void)(warning, ...rest)
  }
}
