import { availableParallelism, release, totalmem } from 'node:os'

/** What a reader needs to place the figures. */
export interface Machine {
  readonly cpus: number
  readonly memoryGb: number
  readonly system: string
  readonly node: string
}

export function describeMachine(): Machine {
  return {
    cpus: availableParallelism(),
    memoryGb: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${release().split('-')[0]} ${process.arch}`,
    node: process.versions.node,
  }
}

export function machineText({ cpus, memoryGb, system, node }: Machine): string {
  return `${cpus} vCPU, ${memoryGb} GB, ${system}, Node ${node}`
}
