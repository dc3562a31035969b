import type { Transport, TransportHealth } from './transport.ts'

export type BusState = 'idle' | 'starting' | 'running' | 'draining' | 'closed'

export interface ConsumerHealth {
  readonly topic: string
  readonly group: string
  readonly transport: string
  /**
   * - `ok`: takes messages. `paused`: by `pause()` or a middleware. `standby`: healthy, but the group has more members than
   *   partitions and this member has none.
   * - `starting`: not subscribed yet. `failed`: subscribing failed; `detail` says why, and whether it will be tried again.
   * - `stalled`: makes no progress, or can't receive messages. `stuck`: one message makes no progress; others may.
   * - `draining`: waits for running handlers. `stopped`: closed.
   */
  readonly status: 'ok' | 'paused' | 'standby' | 'starting' | 'stalled' | 'stuck' | 'failed' | 'draining' | 'stopped'
  readonly detail?: string | undefined
}

/** One reason why the bus is not healthy. */
export interface HealthReason {
  readonly transport?: string | undefined
  readonly topic?: string | undefined
  readonly group?: string | undefined
  /** A state of the bus, `disconnected`, or the status of a consumer. */
  readonly status: string
  readonly detail: string
}

export interface HealthReport {
  /** `ok` when the bus is running, all transports are connected, and no consumer is starting, failed, stalled or stuck. */
  readonly status: 'ok' | 'down'
  /**
   * For a liveness probe: false when restarting the process would help, because the bus is closed or a consumer has stalled.
   * Stays true while a broker is unreachable, and while the bus starts or drains.
   */
  readonly live: boolean
  /** For a readiness probe: true when the bus is running, all transports are connected, and all consumers are subscribed. */
  readonly ready: boolean
  readonly state: BusState
  /** Why `status` is `down`; empty when it is `ok`. */
  readonly reasons: readonly HealthReason[]
  readonly transports: Readonly<Record<string, TransportHealth & { readonly system: string }>>
  readonly consumers: readonly ConsumerHealth[]
}

const FINE: ReadonlySet<ConsumerHealth['status']> = new Set(['ok', 'paused', 'standby', 'draining', 'stopped'])
const SUBSCRIBED: ReadonlySet<ConsumerHealth['status']> = new Set([...FINE, 'stalled', 'stuck'] as const)

const OF_STATE: Readonly<Record<Exclude<BusState, 'running'>, string>> = {
  idle: 'the bus is not started',
  starting: 'the bus is starting',
  draining: 'the bus is closing: it finishes what is running',
  closed: 'the bus is closed',
}

/** Combines the states of the bus, its transports and its consumers into one report. */
export function healthReport(
  state: BusState,
  transports: ReadonlyMap<string, Transport>,
  consumers: readonly ConsumerHealth[],
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
  const running = state === 'running' && connected
  return {
    status: running && consumers.every(({ status }) => FINE.has(status)) ? 'ok' : 'down',
    live: state !== 'closed' && !consumers.some(({ status }) => status === 'stalled'),
    ready: running && consumers.every(({ status }) => SUBSCRIBED.has(status)),
    state,
    reasons,
    transports: named,
    consumers,
  }
}
