import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { createBus } from 'busbar'
import type { Bus, ConsumerHandle, Middleware, Transport } from 'busbar'

/** One of the five services: with its own consumers and database, connected to the others only by events. */
export interface Service {
  readonly name: string
  /** Tables of its database. Each has the order's id as its key, which makes duplicates harmless. */
  readonly schema: string
  /** Adds the consumers. */
  readonly consume: (context: ServiceContext) => readonly ConsumerHandle[]
}

export interface ServiceContext {
  readonly bus: Bus
  readonly state: DatabaseSync
  /** True for the release without the bug that the demo starts with. */
  readonly fixed: boolean
  /** Call it when a delivery turns out to be a duplicate. */
  readonly duplicate: () => void
}

export interface ServiceOptions {
  readonly transport: Transport
  readonly stateDir: string
  /** Prefix of all correlation ids of this run. */
  readonly run: string
  readonly fixed: boolean
}

export interface ServiceStats {
  readonly acked: number
  readonly retried: number
  readonly deadLettered: number
  /** Number of duplicates. At-least-once delivery causes them, and the services ignore them. */
  readonly duplicates: number
}

export interface RunningService {
  stats(): ServiceStats
  /** Waits for running handlers, and returns the other messages. */
  close(): Promise<void>
}

export async function startService(service: Service, options: ServiceOptions): Promise<RunningService> {
  const state = openState(options.stateDir, service)
  const bus = createBus({
    service: service.name,
    transport: options.transport,
    middleware: [onlyOfRun(options.run)],
    // The view and the summary show dead letters. By default the bus would print them in the middle of the output.
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
  // Survives SIGKILL at any time. A power cut may lose the last moments, which is fine for a demo.
  state.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
  state.exec(service.schema)
  return state
}

/** A shared broker may still hold messages of an earlier run: ack them without handling. */
function onlyOfRun(run: string): Middleware {
  return (next) => (message, ctx) => (message.correlationId?.startsWith(`${run}/`) ? next(message, ctx) : undefined)
}
