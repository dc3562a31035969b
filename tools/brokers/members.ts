import type { Blueprint, ProcessPlan } from './blueprint.ts'
import { exec } from './exec.ts'
import { natsServerName } from './nats.ts'
import { probe, probeKafkaMembers } from './probe.ts'

/**
 * True when a node knows at least that many living members of its cluster, including itself. `node` is undefined for a
 * container, which runs one node.
 */
export function nodeSees(blueprint: Blueprint, node: ProcessPlan | undefined, members: number): Promise<boolean> {
  const { name, host } = blueprint
  const target = { host, port: node?.port ?? blueprint.port }
  if (name === 'kafka') return probeKafkaMembers(target, members)
  if (node === undefined || members <= 1) return members <= 1 ? probe(name, target) : Promise.resolve(false)
  if (name === 'rabbitmq') return rabbitMqSees(blueprint, node, members)
  if (name === 'nats') return natsSees(node, members)
  return Promise.resolve(false)
}

async function rabbitMqSees({ details }: Blueprint, { command }: ProcessPlan, members: number): Promise<boolean> {
  const args = ['--silent', 'cluster_status', '--formatter', 'json']
  const { code, stdout } = await exec(details['ctl'] ?? 'rabbitmqctl', args, { env: command.env, timeoutMs: 60_000 })
  // Erlang ends a command that takes too long as if it had succeeded, without output.
  if (code !== 0 || stdout.trim() === '') return false
  const { running_nodes: running } = JSON.parse(stdout) as { readonly running_nodes: readonly string[] }
  return running.length >= members
}

interface JetStreamState {
  readonly meta_cluster?: {
    readonly leader?: string
    readonly replicas?: readonly { readonly current: boolean; readonly offline?: boolean }[]
  }
}

/**
 * Checks routes to the others; with JetStream also for a leader, the node's own streams being up to date, and on the
 * leader the other nodes as well.
 */
async function natsSees({ details, port }: ProcessPlan, members: number): Promise<boolean> {
  const ask = (path: string): Promise<Response> => fetch(`${details?.['monitorUrl']}${path}`)
  try {
    const { routes } = (await (await ask('/routez')).json()) as {
      readonly routes?: readonly { readonly remote_id: string }[]
    }
    if (new Set(routes?.map((route) => route.remote_id)).size + 1 < members) return false
    const { meta_cluster: meta } = (await (await ask('/jsz')).json()) as JetStreamState
    if (meta === undefined) return true
    if ((meta.leader ?? '') === '' || !(await ask('/healthz')).ok) return false
    // Followers do not know how far the others are.
    const current = meta.replicas?.filter((replica) => replica.current && replica.offline !== true).length ?? 0
    return meta.leader !== natsServerName(port) || current + 1 >= members
  } catch {
    // Its monitor does not answer (yet).
    return false
  }
}
