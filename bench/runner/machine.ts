import { createHash } from 'node:crypto'
import { availableParallelism, cpus, release, totalmem } from 'node:os'

/** What a reader needs to place the figures. */
export interface Machine {
  readonly cpus: number
  readonly memoryGb: number
  readonly system: string
  readonly node: string
  /** As the processor names itself. Absent in older records, as is what follows. */
  readonly processor?: string
  /** Of one core, beside whatever else runs: absolute figures of two machines are comparable after division by these. */
  readonly speed?: MachineSpeed
}

export interface MachineSpeed {
  /** MB of SHA-256 in a second. */
  readonly hashMb: number
  /** MB of memory copied in a second, from one block larger than the caches to another. */
  readonly copyMb: number
}

const BLOCK_BYTES = 64 * 1_048_576
const TRIES = 5

export function describeMachine(): Machine {
  return {
    cpus: availableParallelism(),
    memoryGb: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${release().split('-')[0]} ${process.arch}`,
    node: process.versions.node,
    processor: (cpus()[0]?.model ?? 'unknown').trim(),
    speed: measureSpeed(),
  }
}

export function machineText({ cpus: count, memoryGb, system, node, processor, speed }: Machine): string {
  const model = processor === undefined ? '' : ` (${processor})`
  const text = `${count} vCPU${model}, ${memoryGb} GB, ${system}, Node ${node}`
  if (speed === undefined) return text
  return `${text}; at the end of the run, one core hashed ${speed.hashMb} MB/s with SHA-256 and copied ${speed.copyMb} MB/s`
}

/** A third of a second. */
function measureSpeed(): MachineSpeed {
  const [from, to] = [Buffer.alloc(BLOCK_BYTES, 1), Buffer.alloc(BLOCK_BYTES)]
  return {
    hashMb: fastest(() => createHash('sha256').update(from).digest()),
    copyMb: fastest(() => from.copy(to)),
  }
}

/** MB a second of the fastest of some tries: an interruption only slows one down. */
function fastest(run: () => unknown): number {
  const times = Array.from({ length: TRIES }, () => {
    const start = performance.now()
    run()
    return performance.now() - start
  })
  return Math.round(BLOCK_BYTES / 1_000 / Math.min(...times))
}
