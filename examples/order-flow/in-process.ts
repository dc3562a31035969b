import type { Transport } from 'busbar'
import { findService, services } from './services/index.ts'
import { startService } from './service.ts'
import type { RunningService } from './service.ts'
import { addStats, NO_STATS } from './workers.ts'
import type { Workers } from './workers.ts'

/** All services in this process, each with its own bus: for a broker that is also in this process. */
export function inProcess(options: {
  /** Creates a transport to the shared broker. */
  readonly connect: () => Transport
  readonly stateDir: string
  readonly run: string
}): Workers {
  const { connect, stateDir, run } = options
  const running = new Map<string, RunningService>()
  let past = NO_STATS

  async function stop(name: string): Promise<void> {
    const service = running.get(name)
    if (service === undefined) throw new Error(`the ${name} service is not running`)
    await service.close()
    past = addStats(past, service.stats())
    running.delete(name)
  }

  async function close(): Promise<void> {
    await Promise.all([...running.keys()].map(stop))
  }

  return {
    description: `${services.length} services in one process`,
    failed: new Promise<never>(() => {}),
    async start(name, { fixed }) {
      running.set(name, await startService(findService(name), { transport: connect(), stateDir, run, fixed }))
    },
    stop,
    kill: () => Promise.reject(new Error('services that share a process with everything else can not be killed')),
    totals: () => [...running.values()].reduce((sum, service) => addStats(sum, service.stats()), past),
    close,
  }
}
