import type { BrokerName } from './types.ts'

/**
 * - `missing`: a program is not there and was not installed; the message says how to get it.
 * - `install-failed`: an installation was tried and failed.
 * - `start-failed`: the process ended, or was not ready in time.
 * - `unreachable`: a URL was given, but no such broker answers there.
 * - `unsupported`: this source can't do what was requested.
 */
export type BrokerErrorCode = 'missing' | 'install-failed' | 'start-failed' | 'unreachable' | 'unsupported'

export class BrokerError extends Error {
  override readonly name = 'BrokerError'
  readonly code: BrokerErrorCode
  readonly broker: BrokerName

  constructor(code: BrokerErrorCode, broker: BrokerName, message: string, cause?: unknown) {
    super(`${broker}: ${message}`, cause === undefined ? undefined : { cause })
    this.code = code
    this.broker = broker
  }
}

const BY_HAND: Readonly<Record<BrokerName, string>> = {
  rabbitmq: 'install the package rabbitmq-server (Debian, Ubuntu, Homebrew: rabbitmq)',
  nats: 'install Go and let it build the current server (go install github.com/nats-io/nats-server/v2@latest), or install the package nats-server',
  redis: 'install the package redis-server (Homebrew: redis)',
  postgres: 'install the package postgresql (Homebrew: postgresql)',
  kafka:
    'install Java 17 or newer and Maven (Debian: default-jre-headless maven); the jars are then fetched from Maven Central',
}

/** The end of every "can't be had" message: three ways to get the broker, the specific one first. */
export function howToGet(name: BrokerName): string {
  return `${BY_HAND[name]}; or start Docker with the compose plugin; or point BUSBAR_TEST_${name.toUpperCase()}_URL at a running one`
}
