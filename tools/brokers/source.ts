import type { Blueprint, InstanceRecord } from './blueprint.ts'
import { createBroker } from './broker.ts'
import { dockerAnswers, dockerRuntime } from './docker.ts'
import { dockerBlueprint, dockerCan } from './docker-blueprint.ts'
import type { DockerRequest } from './docker-blueprint.ts'
import { kafkaBlueprint } from './kafka.ts'
import { localRuntime } from './local-runtime.ts'
import type { RefsChanged, Unit } from './local-runtime.ts'
import { natsBlueprint } from './nats.ts'
import { postgresBlueprint } from './postgres.ts'
import { rabbitMqBlueprint } from './rabbitmq.ts'
import { redisBlueprint } from './redis.ts'
import type { Runtime } from './runtime.ts'
import type { BrokerName, BrokerOf, OptionsOf } from './types.ts'

type LocalBlueprints = {
  readonly [N in BrokerName]: (dataDir: string, port: number, options: OptionsOf[N]) => Promise<Blueprint>
}

const LOCAL: LocalBlueprints = {
  rabbitmq: rabbitMqBlueprint,
  nats: natsBlueprint,
  redis: redisBlueprint,
  postgres: postgresBlueprint,
  kafka: kafkaBlueprint,
}

/** `BUSBAR_BROKERS_SOURCE` (`docker` or `local`) decides for all; otherwise Docker, if an engine answers. */
export async function sourceOf(options: OptionsOf[BrokerName]): Promise<'docker' | 'local'> {
  const wanted = options.source ?? process.env['BUSBAR_BROKERS_SOURCE']
  if (wanted === 'docker' || wanted === 'local') return wanted
  return dockerCan(options) && (await dockerAnswers()) ? 'docker' : 'local'
}

/** Prepares data and configuration and, if needed, installs; starts nothing. */
export async function prepare<N extends BrokerName>(request: DockerRequest<N>): Promise<Blueprint> {
  const { name, dataDir, port, options } = request
  const source = await sourceOf(options)
  return source === 'docker' ? dockerBlueprint(request) : LOCAL[name](dataDir, port, options)
}

export interface Opened<N extends BrokerName> {
  readonly broker: BrokerOf[N]
  readonly runtime: Runtime
}

/** A handle on an instance, running or not. */
export function openInstance<N extends BrokerName>(
  name: N,
  { blueprint, refs }: Pick<InstanceRecord, 'blueprint' | 'refs'>,
  changed: RefsChanged,
  ended: () => void,
): Opened<N> {
  const { container } = blueprint
  if (container !== undefined) {
    const runtime = dockerRuntime(blueprint, container)
    const units: readonly Unit[] = []
    return { broker: createBroker(name, { blueprint, runtime, units, ended }), runtime }
  }
  const runtime = localRuntime(blueprint, refs, changed)
  return { broker: createBroker(name, { blueprint, runtime, units: runtime.units, ended }), runtime }
}
