import type { Command, ProcessRef } from './process.ts'
import type { BrokerName, BrokerSource } from './types.ts'

/** One process of a broker; plain data, like everything in this file, because it is kept in the state file. */
export interface ProcessPlan {
  /** Number of the node, from 1. */
  readonly id: number
  /**
   * A helper is a process that the nodes need, such as a name server. It starts before them and is not a node. Default:
   * `node`.
   */
  readonly role?: 'node' | 'helper'
  readonly port: number
  readonly command: Command
  readonly stopSignal: NodeJS.Signals
  /** Text in the log that marks the end of the start, for a broker that opens its port before. */
  readonly readyLog?: string
  /** Values of this node, such as the port of its monitoring endpoint. */
  readonly details?: Readonly<Record<string, string>>
}

/** One compose service, under a separate project name. */
export interface ContainerPlan {
  readonly project: string
  /** The project contains nothing else, so it can be removed as a whole. */
  readonly exclusive: boolean
  readonly service: BrokerName
  readonly files: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

/** Everything needed to start a broker, and to start it again from another process. */
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
  /** Values of this kind of broker, such as the port of its monitoring endpoint. */
  readonly details: Readonly<Record<string, string>>
}

export interface InstanceRecord {
  readonly blueprint: Blueprint
  /** In the order of `blueprint.processes`; null for a stopped one. Empty for a container. */
  readonly refs: readonly (ProcessRef | null)[]
  /** Milliseconds since the epoch. */
  readonly startedAt: number
}
