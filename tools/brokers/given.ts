import { BrokerError } from './errors.ts'
import { probe } from './probe.ts'
import type { ProbeTarget } from './probe.ts'
import type { Broker, BrokerName } from './types.ts'

const DEFAULTS: Readonly<Record<string, number>> = {
  amqp: 5672,
  amqps: 5671,
  nats: 4222,
  tls: 4222,
  redis: 6379,
  rediss: 6379,
  postgres: 5432,
  postgresql: 5432,
  kafka: 9092,
  kafkas: 9093,
}

const TLS: readonly string[] = ['amqps', 'rediss', 'kafkas']

export function urlVariable(name: BrokerName): string {
  return `BUSBAR_TEST_${name.toUpperCase()}_URL`
}

/** The URL that the environment sets for this broker. */
export function givenUrl(name: BrokerName): string | undefined {
  return process.env[urlVariable(name)] || undefined
}

/** A broker that is run elsewhere: it can be used and checked for health, but not stopped or killed. */
export function givenBroker(name: BrokerName, url: string): Broker {
  const target = targetOf(name, url)
  const refuse = (verb: string) => (): Promise<never> =>
    Promise.reject(
      new BrokerError('unsupported', name, `can't ${verb} the broker of ${urlVariable(name)}: it is not ours`),
    )
  return {
    name,
    source: 'env',
    url,
    host: target.host,
    port: target.port,
    pid: undefined,
    version: '',
    dataDir: '',
    healthy: () => probe(name, target, 5_000),
    kill: refuse('kill'),
    halt: refuse('halt'),
    restart: refuse('restart'),
    pause: refuse('pause'),
    resume: refuse('resume'),
    stop: () => Promise.resolve(),
    logs: refuse('read the log of'),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}

/** The first host of the URL; Kafka, NATS and Redis URLs may name several, which `URL` does not parse. */
function targetOf(name: BrokerName, url: string): ProbeTarget {
  const match = /^([a-z]+):\/\/(?:[^@/]*@)?(\[[^\]]+\]|[^:/,?]+)(?::(\d+))?/.exec(url)
  const [, scheme = '', host] = match ?? []
  const port = Number(match?.[3] ?? DEFAULTS[scheme])
  if (host === undefined || !(port > 0)) {
    throw new BrokerError('unreachable', name, `${urlVariable(name)} is not a URL of the form scheme://host:port`)
  }
  // Secrets may precede the @: the URL itself never appears in a message.
  return { host: host.replace(/^\[|\]$/g, ''), port, tls: TLS.includes(scheme) }
}
