import type { Transport, TransportHealth } from './transport.ts'

/**
 * `running`: the transports are open and publishing works; extensions and consumers may still be starting. `draining`: the bus
 * closes, and publishing still works. A start that failed makes the bus `idle` again, or closes it.
 */
export type BusState = 'idle' | 'starting' | 'running' | 'draining' | 'closed'

/** Health of one consumer. */
export interface ConsumerHealth {
  readonly topic: string
  readonly group: string
  readonly transport: string
  /**
   * - `ok`: takes messages. `paused`: by `pause()` or a middleware. `standby`: healthy, but the group has more members than
   *   partitions and this member has none.
   * - `starting`: not subscribed yet. `failed`: subscribing failed; `detail` says why, and whether it will be tried again.
   * - `stalled`: makes no progress, or can't receive messages. `stuck`: one message or partition makes no progress; others may.
   * - `draining`: waits for running handlers. `stopped`: closed.
   */
  readonly status: 'ok' | 'paused' | 'standby' | 'starting' | 'stalled' | 'stuck' | 'failed' | 'draining' | 'stopped'
  readonly detail?: string | undefined
}

/** Health of one extension. */
export interface ExtensionHealth {
  /**
   * - `ok`: does its work. `degraded`: works, but needs attention.
   * - `failed`: can't do its work; the bus is not ready. `stalled`: a restart of the process would help; the bus is not live.
   * - `starting`: not ready yet; the bus says so until `start()` of the extension has resolved. `stopped`: closed.
   */
  readonly status: 'ok' | 'degraded' | 'starting' | 'failed' | 'stalled' | 'stopped'
  readonly detail?: string | undefined
}

/** One reason why the bus is not healthy. */
export interface HealthReason {
  readonly transport?: string | undefined
  readonly topic?: string | undefined
  readonly group?: string | undefined
  /** Name of the extension. */
  readonly extension?: string | undefined
  /** A state of the bus, `disconnected`, or the status of a consumer or extension. */
  readonly status: string
  readonly detail: string
}

/** Health of a bus, as `bus.health()` reports it. */
export interface HealthReport {
  /**
   * `ok` when the bus is running, all transports are connected, no consumer is starting, failed, stalled or stuck, and all
   * extensions are `ok`.
   */
  readonly status: 'ok' | 'down'
  /**
   * For a liveness probe: false when restarting the process would help, because the bus is closed, or a consumer or extension
   * has stalled. Stays true while a broker is unreachable, and while the bus starts or drains.
   */
  readonly live: boolean
  /**
   * For a readiness probe: true when the bus is running, all transports are connected, all consumers are subscribed, and no
   * extension is `starting` or `failed`.
   */
  readonly ready: boolean
  readonly state: BusState
  /** Why `status` is `down`; empty when it is `ok`. */
  readonly reasons: readonly HealthReason[]
  readonly transports: Readonly<Record<string, TransportHealth & { readonly system: string }>>
  readonly consumers: readonly ConsumerHealth[]
  /** By name. */
  readonly extensions: Readonly<Record<string, ExtensionHealth>>
}

const FINE: ReadonlySet<ConsumerHealth['status']> = new Set(['ok', 'paused', 'standby', 'draining', 'stopped'])
const NOT_READY: ReadonlySet<string> = new Set(['starting', 'failed'])

const OF_STATE: Readonly<Record<Exclude<BusState, 'running'>, string>> = {
  idle: 'the bus is not started',
  starting: 'the bus is starting',
  draining: 'the bus is closing: it finishes what is running',
  closed: 'the bus is closed',
}

/** Combines the states of the bus, its transports, consumers and extensions into one report. */
export function healthReport(
  state: BusState,
  transports: ReadonlyMap<string, Transport>,
  consumers: readonly ConsumerHealth[],
  extensions: ReadonlyMap<string, ExtensionHealth>,
): HealthReport {
  const reasons: HealthReason[] = []
  if (state !== 'running') reasons.push({ status: state, detail: OF_STATE[state] })
  const named: Record<string, TransportHealth & { readonly system: string }> = {}
  let connected = true
  for (const [name, transport] of transports) {
    const health = transport.health()
    named[name] = { system: transport.system, connected: health.connected, detail: health.detail }
    if (health.connected) continue
    connected = false
    reasons.push({ transport: name, status: 'disconnected', detail: health.detail ?? 'not connected' })
  }
  for (const { transport, topic, group, status, detail } of consumers)
    if (!FINE.has(status)) reasons.push({ transport, topic, group, status, detail: detail ?? status })
  for (const [extension, { status, detail }] of extensions)
    if (status !== 'ok' && status !== 'stopped') reasons.push({ extension, status, detail: detail ?? status })
  const parts = [...consumers, ...extensions.values()].map(({ status }) => status)
  return {
    status: reasons.length === 0 ? 'ok' : 'down',
    live: state !== 'closed' && !parts.includes('stalled'),
    ready: state === 'running' && connected && !parts.some((status) => NOT_READY.has(status)),
    state,
    reasons,
    transports: named,
    consumers,
    extensions: Object.fromEntries(extensions),
  }
}
