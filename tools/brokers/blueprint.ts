import type { Command, ProcessRef } from './process.ts'
import type { BrokerName, BrokerSource } from './types.ts'

/** One process of a broker; plain data, like everything in this file, because it is kept in the state file. */
export interface ProcessPlan {
  /** Of a node, from 1. */
  readonly id: number
  /** A helper is what the nodes need, e.g. a name server. It starts before them and is no node of its own. Default: `node`. */
  readonly role?: 'node' | 'helper'
  readonly port: number
  readonly command: Command
  readonly stopSignal: NodeJS.Signals
  /** Text in the log that says the start is complete, for a broker that opens its port before. */
  readonly readyLog?: string
  /** What only this node has, e.g. the port of its monitoring endpoint. */
  readonly details?: Readonly<Record<string, string>>
}

/** One compose service, under a project name of its own. */
export interface ContainerPlan {
  readonly project: string
  /** Nothing else lives in the project, so it can be taken down as a whole. */
  readonly exclusive: boolean
  readonly service: BrokerName
  readonly files: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

/** All that is needed to start a broker, and to start it again from another process. */
export interface Blueprint {
  readonly name: BrokerName
  readonly source: Exclude<BrokerSource, 'env'>
  readonly version: string
  readonly url: string
  readonly host: string
  readonly port: number
  readonly dataDir: string
  readonly readyTimeoutMs: number
  readonly processes: readonly ProcessPlan[]
  readonly container: ContainerPlan | undefined
  /** What only this kind of broker has, e.g. the port of its monitoring endpoint. */
  readonly details: Readonly<Record<string, string>>
}

export interface InstanceRecord {
  readonly blueprint: Blueprint
  /** In the order of `blueprint.processes`; null for one that is stopped. Empty for a container. */
  readonly refs: readonly (ProcessRef | null)[]
  /** Milliseconds since the epoch. */
  readonly startedAt: number
}
