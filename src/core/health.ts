import type { BusState, ConsumerHealth, HealthReason, HealthReport } from './bus-types.ts'
import type { Transport, TransportHealth } from './transport.ts'

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
