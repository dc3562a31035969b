import type { Blueprint, ProcessPlan } from './blueprint.ts'
import { compose } from './docker.ts'
import { BrokerError } from './errors.ts'
import { exec, tail } from './exec.ts'
import type { ExecResult } from './exec.ts'
import type { Unit } from './local-runtime.ts'
import { probe } from './probe.ts'
import type { Runtime } from './runtime.ts'
import { nodeSees } from './members.ts'
import type { Broker, BrokerName, BrokerNode, BrokerOf, KafkaBroker, NatsBroker, RabbitMqBroker } from './types.ts'
import { urlOf } from './url.ts'

export interface BrokerParts {
  readonly blueprint: Blueprint
  readonly runtime: Runtime
  /** One for each node; empty for a container. */
  readonly units: readonly Unit[]
  /** Called after the broker was stopped permanently. */
  readonly ended: () => void
}

/** The handle that tests use, made from a blueprint and the control of its processes. */
export function createBroker<N extends BrokerName>(name: N, parts: BrokerParts): BrokerOf[N] {
  const base = baseOf(parts)
  const extras: Readonly<Record<BrokerName, () => object>> = {
    rabbitmq: () => rabbitMqExtras(parts, base),
    nats: () => natsExtras(parts, base),
    redis: () => ({}),
    postgres: () => ({}),
    kafka: () => kafkaExtras(parts, base),
  }
  // Not a spread: `pid` of the base is a getter and must stay one.
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

type RabbitMqExtras = Pick<RabbitMqBroker, 'nodes' | 'managementUrl' | 'ctl'>

function rabbitMqExtras(parts: BrokerParts, base: Broker): RabbitMqExtras {
  const { blueprint } = parts
  const { details, container } = blueprint
  const ctlOf =
    (plan: ProcessPlan | undefined) =>
    (...args: readonly string[]): Promise<string> => {
      const running =
        container === undefined
          ? exec(details['ctl'] ?? 'rabbitmqctl', args, { env: plan?.command.env ?? {} })
          : compose(container, 'exec', '-T', container.service, 'rabbitmqctl', ...args)
      return output(blueprint, `rabbitmqctl ${args.join(' ')}`, running)
    }
  const first = parts.units[0]?.plan
  return {
    nodes: nodesOf(parts, base, (plan) => ({ ctl: ctlOf(plan) })),
    managementUrl: first?.details?.['managementUrl'] ?? details['managementUrl'],
    ctl: ctlOf(first),
  }
}

function natsExtras(parts: BrokerParts, base: Broker): Pick<NatsBroker, 'nodes' | 'monitorUrl'> {
  const monitorUrlOf = (plan: ProcessPlan | undefined): string | undefined =>
    plan?.details?.['monitorUrl'] ?? parts.blueprint.details['monitorUrl']
  return {
    nodes: nodesOf(parts, base, (plan) => ({ monitorUrl: monitorUrlOf(plan) })),
    monitorUrl: monitorUrlOf(parts.units[0]?.plan),
  }
}

type KafkaExtras = Pick<KafkaBroker, 'nodes' | 'listeners' | 'tls' | 'tool' | 'toolCommand'>

function kafkaExtras(parts: BrokerParts, base: Broker): KafkaExtras {
  const { blueprint } = parts
  const { details, host, port } = blueprint
  const { caFile, certFile, keyFile, java, classpath } = details
  const hasTls = caFile !== undefined && certFile !== undefined && keyFile !== undefined
  const toolCommand = (mainClass: string, ...args: readonly string[]): readonly string[] => {
    if (java === undefined || classpath === undefined) {
      throw new BrokerError('unsupported', 'kafka', "Java's tools run with a local source of Apache Kafka only")
    }
    return [java, '-XX:TieredStopAtLevel=1', '-cp', classpath, mainClass, ...args]
  }
  return {
    nodes: nodesOf(parts, base, () => ({})),
    listeners: {
      plaintext: `${host}:${port}`,
      saslPlaintext: details['saslPlaintext'],
      saslSsl: details['saslSsl'],
      ssl: details['ssl'],
    },
    tls: hasTls ? { caFile, certFile, keyFile } : undefined,
    toolCommand,
    tool: async (mainClass, ...args) => {
      const [file = '', ...rest] = toolCommand(mainClass, ...args)
      return output(blueprint, mainClass, exec(file, rest))
    },
  }
}

/** A handle for each node, with the parts that only nodes of that broker have. A container is one node. */
function nodesOf<Extra extends object>(
  { blueprint, units }: BrokerParts,
  base: Broker,
  extraOf: (plan: ProcessPlan | undefined) => Extra,
): readonly (BrokerNode & Extra)[] {
  const { name, host } = blueprint
  const sees = (plan: ProcessPlan | undefined) => (members: number) => nodeSees(blueprint, plan, members)
  if (units.length === 0) return [Object.assign(base, { id: 1, sees: sees(undefined), ...extraOf(undefined) })]
  return units.map((unit) => {
    const { id, port } = unit.plan
    const node: BrokerNode = {
      id,
      host,
      port,
      url: urlOf(name, host, port),
      get pid() {
        return unit.pid()
      },
      healthy: () => probe(name, { host, port }),
      sees: sees(unit.plan),
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
    return Object.assign(node, extraOf(unit.plan))
  })
}
