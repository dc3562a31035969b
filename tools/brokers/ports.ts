import { createServer } from 'node:net'
import type { BrokerName } from './types.ts'

/** Ports of the shared instances; `compose.yaml` publishes the same. None is a broker's default. */
export const DEFAULT_PORTS: Readonly<Record<BrokerName, number>> = {
  rabbitmq: 27672,
  nats: 27222,
  redis: 27379,
  postgres: 27432,
  kafka: 27092,
}

// Below the ephemeral range of Linux (32768 and up) and macOS (49152 and up): while a broker is down for a restart, no
// outgoing connection can get its port.
const FIRST = 20_000
const COUNT = 7_000

const handedOut = new Set<number>()

export async function freePort(preferred?: number): Promise<number> {
  if (preferred !== undefined && (await isFree(preferred))) return preferred
  for (let tries = 0; tries < 200; tries++) {
    const port = FIRST + Math.floor(Math.random() * COUNT)
    if (handedOut.has(port) || !(await isFree(port))) continue
    handedOut.add(port)
    return port
  }
  throw new Error(`no free port between ${FIRST} and ${FIRST + COUNT}`)
}

export function isFree(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const server = createServer()
  server.once('error', () => resolve(false))
  server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)))
  return promise
}
