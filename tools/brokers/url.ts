import type { BrokerName } from './types.ts'

/** The URL that a client of that broker connects to. */
export function urlOf(name: BrokerName, host: string, port: number): string {
  const urls: Readonly<Record<BrokerName, string>> = {
    rabbitmq: `amqp://guest:guest@${host}:${port}`,
    nats: `nats://${host}:${port}`,
    redis: `redis://${host}:${port}`,
    postgres: `postgres://postgres@${host}:${port}/postgres`,
    kafka: `kafka://${host}:${port}`,
  }
  return urls[name]
}
