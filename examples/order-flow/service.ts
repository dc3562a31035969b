import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { createBus } from 'busbar'
import type { Bus, ConsumerHandle, Middleware, Transport } from 'busbar'

/** One of the five services: its own consumers, its own database, and no word with the others but through events. */
export interface Service {
  readonly name: string
  /** Tables of its database. Every one has the order's id as its key, which makes a repeated delivery harmless. */
  readonly schema: string
  /** Adds the consumers. */
  readonly consume: (context: ServiceContext) => readonly ConsumerHandle[]
}

export interface ServiceContext {
  readonly bus: Bus
  readonly state: DatabaseSync
  /** A new release without the bug that the demo starts with. */
  readonly fixed: boolean
  /** To be called when a delivery turns out to be one of a message that was dealt with before. */
  readonly duplicate: () => void
}

export interface ServiceOptions {
  readonly transport: Transport
  readonly stateDir: string
  /** Starts the correlation id of all that belongs to this run. */
  readonly run: string
  readonly fixed: boolean
}

export interface ServiceStats {
  readonly acked: number
  readonly retried: number
  readonly deadLettered: number
  /** Deliveries of something that had been dealt with before. At-least-once brings them, the services ignore them. */
  readonly duplicates: number
}

export interface RunningService {
  stats(): ServiceStats
  /** Finishes what is running, hands back the rest. */
  close(): Promise<void>
}

export async function startService(service: Service, options: ServiceOptions): Promise<RunningService> {
  const state = openState(options.stateDir, service)
  const bus = createBus({
    service: service.name,
    transport: options.transport,
    middleware: [onlyOfRun(options.run)],
    // The view and the account at the end show what is dead-lettered: without a logger the bus would print it in the middle.
    logger: false,
  })
  let duplicates = 0
  const consumers = service.consume({ bus, state, fixed: options.fixed, duplicate: () => void duplicates++ })
  await bus.start()
  return {
    stats() {
      const all = consumers.map((consumer) => consumer.stats())
      return {
        acked: all.reduce((sum, stats) => sum + stats.acked, 0),
        retried: all.reduce((sum, stats) => sum + stats.retried, 0),
        deadLettered: all.reduce((sum, stats) => sum + stats.deadLettered, 0),
        duplicates,
      }
    },
    async close() {
      await bus.close()
      state.close()
    },
  }
}

export function statePath(stateDir: string, service: string): string {
  return join(stateDir, `${service}.db`)
}

function openState(stateDir: string, service: Service): DatabaseSync {
  mkdirSync(stateDir, { recursive: true })
  const state = new DatabaseSync(statePath(stateDir, service.name), { timeout: 5_000 })
  // Survives SIGKILL at any instant. A power cut may take the last moments, which a demo can live with.
  state.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
  state.exec(service.schema)
  return state
}

/** A broker that is not ours alone may still hold what an earlier run has left: that is acked and not looked at. */
function onlyOfRun(run: string): Middleware {
  return (next) => (message, ctx) => (message.correlationId?.startsWith(`${run}/`) ? next(message, ctx) : undefined)
}
