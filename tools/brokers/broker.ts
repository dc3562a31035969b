import type { Blueprint } from './blueprint.ts'
import { compose } from './docker.ts'
import { BrokerError } from './errors.ts'
import { exec, tail } from './exec.ts'
import type { ExecResult } from './exec.ts'
import type { Unit } from './local-runtime.ts'
import { probe } from './probe.ts'
import type { Runtime } from './runtime.ts'
import type { Broker, BrokerName, BrokerOf, KafkaBroker, KafkaNode, NatsBroker, RabbitMqBroker } from './types.ts'

export interface BrokerParts {
  readonly blueprint: Blueprint
  readonly runtime: Runtime
  /** One for each local process; empty for a container. */
  readonly units: readonly Unit[]
  /** Called after the broker was stopped for good. */
  readonly ended: () => void
}

/** The handle that tests hold, made of a blueprint and of what controls its processes. */
export function createBroker<N extends BrokerName>(name: N, parts: BrokerParts): BrokerOf[N] {
  const base = baseOf(parts)
  const extras: Readonly<Record<BrokerName, () => object>> = {
    rabbitmq: () => rabbitMqExtras(parts),
    nats: () => natsExtras(parts),
    redis: () => ({}),
    postgres: () => ({}),
    kafka: () => kafkaExtras(parts, base),
  }
  // Not a spread: `pid` of the base is a getter and has to stay one.
  return Object.assign<Broker, object>(base, extras[name]()) as BrokerOf[N]
}

function baseOf({ blueprint, runtime, ended }: BrokerParts): Broker {
  const { name, source, url, host, port, version, dataDir } = blueprint
  const stop = async (): Promise<void> => {
    await runtime.destroy()
    ended()
  }
  return {
    name,
    source,
    url,
    host,
    port,
    version,
    dataDir,
    get pid() {
      return runtime.pid()
    },
    healthy: () => probe(name, { host, port }),
    kill: () => runtime.kill(),
    halt: () => runtime.halt(),
    restart: async () => {
      await runtime.halt()
      await runtime.start()
    },
    pause: () => runtime.pause(),
    resume: () => runtime.resume(),
    stop,
    logs: (lines = 100) => runtime.logs(lines),
    [Symbol.asyncDispose]: stop,
  }
}

async function output(blueprint: Blueprint, what: string, running: Promise<ExecResult>): Promise<string> {
  const { code, stdout, stderr } = await running
  if (code === 0) return stdout
  throw new BrokerError('unsupported', blueprint.name, `${what} ended with ${code}:\n${tail(`${stdout}\n${stderr}`)}`)
}

function rabbitMqExtras({ blueprint }: BrokerParts): Pick<RabbitMqBroker, 'managementUrl' | 'ctl'> {
  const { details, container, processes } = blueprint
  const run = (args: readonly string[]): Promise<ExecResult> =>
    container === undefined
      ? exec(details['ctl'] ?? 'rabbitmqctl', args, { env: processes[0]?.command.env ?? {} })
      : compose(container, 'exec', '-T', container.service, 'rabbitmqctl', ...args)
  return {
    managementUrl: details['managementUrl'],
    ctl: (...args) => output(blueprint, `rabbitmqctl ${args.join(' ')}`, run(args)),
  }
}

function natsExtras({ blueprint }: BrokerParts): Pick<NatsBroker, 'monitorUrl'> {
  return { monitorUrl: blueprint.details['monitorUrl'] }
}

type KafkaExtras = Pick<KafkaBroker, 'nodes' | 'listeners' | 'tls' | 'tool'>

function kafkaExtras({ blueprint, units }: BrokerParts, base: Broker): KafkaExtras {
  const { details, host, port } = blueprint
  const { caFile, certFile, keyFile, java, classpath } = details
  const hasTls = caFile !== undefined && certFile !== undefined && keyFile !== undefined
  return {
    nodes: units.length === 0 ? [Object.assign(base, { id: 1 })] : units.map((unit) => kafkaNode(blueprint, unit)),
    listeners: {
      plaintext: `${host}:${port}`,
      saslPlaintext: details['saslPlaintext'],
      saslSsl: details['saslSsl'],
      ssl: details['ssl'],
    },
    tls: hasTls ? { caFile, certFile, keyFile } : undefined,
    tool: (mainClass, ...args) => {
      if (java === undefined || classpath === undefined) {
        throw new BrokerError('unsupported', 'kafka', 'its tools run with the local source only')
      }
      return output(blueprint, mainClass, exec(java, ['-XX:TieredStopAtLevel=1', '-cp', classpath, mainClass, ...args]))
    },
  }
}

function kafkaNode({ host }: Blueprint, unit: Unit): KafkaNode {
  const { id, port } = unit.plan
  return {
    id,
    host,
    port,
    url: `kafka://${host}:${port}`,
    get pid() {
      return unit.pid()
    },
    healthy: () => probe('kafka', { host, port }),
    kill: () => unit.kill(),
    halt: () => unit.halt(),
    restart: async () => {
      await unit.halt()
      await unit.start()
    },
    pause: () => unit.pause(),
    resume: () => unit.resume(),
    logs: (lines = 100) => unit.logs(lines),
  }
}
