// One service in a separate process. The parent says which one, and gets its statistics.

import { transportFromUrl } from 'busbar/url'
import { startService } from './service.ts'
import type { ServiceStats } from './service.ts'
import { findService } from './services/index.ts'

export type ToWorker =
  | {
      readonly type: 'start'
      readonly service: string
      readonly url: string
      readonly stateDir: string
      readonly run: string
      readonly fixed: boolean
    }
  | { readonly type: 'stop' }

export type FromWorker = { readonly type: 'ready' } | { readonly type: 'stats'; readonly stats: ServiceStats }

const STATS_EVERY_MS = 200

function tell(message: FromWorker): void {
  // 'disconnect' means that the parent has ended.
  if (process.connected) process.send?.(message, () => {})
}

async function main(): Promise<void> {
  // Ctrl-C reaches the whole process group; the parent then stops its workers one by one.
  process.on('SIGINT', () => {})
  const { promise: ended, resolve: end } = Promise.withResolvers<void>()
  process.once('disconnect', end)
  const { promise: started, resolve: start } = Promise.withResolvers<Extract<ToWorker, { type: 'start' }>>()
  process.on('message', (message: ToWorker) => {
    if (message.type === 'start') start(message)
    else end()
  })

  const { service, url, stateDir, run, fixed } = await started
  const running = await startService(findService(service), {
    transport: await transportFromUrl(url),
    stateDir,
    run,
    fixed,
  })
  tell({ type: 'ready' })
  const timer = setInterval(() => tell({ type: 'stats', stats: running.stats() }), STATS_EVERY_MS)
  await ended
  clearInterval(timer)
  await running.close()
  tell({ type: 'stats', stats: running.stats() })
  if (process.connected) process.disconnect()
}

await main()
