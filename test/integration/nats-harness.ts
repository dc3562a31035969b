import { randomUUID } from 'node:crypto'
import { connect } from '@nats-io/transport-node'
import type { NatsConnection } from '@nats-io/transport-node'
import { afterEach } from 'vitest'
import { createBus } from 'busbar'
import type { Bus, BusEventMap, Transport } from 'busbar'
import { uniqueName } from 'busbar/testing'
import { nats } from 'busbar/nats'
import type { NatsOptions } from 'busbar/nats'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { NatsBroker } from '../../tools/brokers/index.ts'

/** What a test has started, to be ended in the opposite order. */
const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

export function onEnd(cleanUp: () => unknown): void {
  cleanUps.push(cleanUp)
}

export async function startServer(config = ''): Promise<NatsBroker> {
  const server = await startPrivate('nats', { config })
  onEnd(() => server.stop())
  return server
}

/** A name for a stream that no other test uses. */
export const streamName = (): string => uniqueName('s').replaceAll('.', '-')

/** A bus that listens to nothing but what a test asks of it. */
export function makeBus(options: NatsOptions): Bus {
  const bus = createBus({ service: 'test', transport: nats(options) })
  onEnd(() => bus.close({ timeoutMs: 1_000 }))
  return bus
}

/** A transport without a runtime: what it does can be seen delivery by delivery. The bus gives it its host. */
export async function openTransport(
  options: NatsOptions,
): Promise<{ readonly transport: Transport; readonly bus: Bus }> {
  const transport = nats(options)
  const bus = createBus({ service: `raw-${randomUUID()}`, transport })
  onEnd(() => bus.close({ timeoutMs: 1_000 }))
  await bus.start()
  return { transport, bus }
}

export function record<Name extends keyof BusEventMap>(bus: Bus, name: Name): BusEventMap[Name][] {
  const seen: BusEventMap[Name][] = []
  bus.events.on(name, (event) => void seen.push(event))
  return seen
}

export type Api = (subject: string, body?: object) => Promise<Record<string, unknown>>

/** JetStream's API, by a client that knows nothing of Busbar. */
export async function plainClient({ host, port }: NatsBroker): Promise<{ client: NatsConnection; api: Api }> {
  const client = await connect({ servers: `${host}:${port}`, reconnectTimeWait: 50, maxReconnectAttempts: -1 })
  onEnd(() => client.close())
  const api: Api = async (subject, body = {}) =>
    (await client.request(`$JS.API.${subject}`, JSON.stringify(body), { timeout: 5_000 })).json()
  return { client, api }
}
