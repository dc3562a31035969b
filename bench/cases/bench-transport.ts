import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Transport } from 'busbar'
import type { CaseArguments } from '../harness/case-arguments.ts'
import { requiredUrl } from '../harness/required-url.ts'

/** A transport on empty storage of its own, and how to remove that storage again. */
export interface BenchTransport {
  readonly transport: Transport
  readonly remove: () => void
}

type Factory = (options?: object) => Transport

/** The brokers' modules come with later versions: named at run time, so that the cases compile without them. */
async function factoryOf(name: string): Promise<Factory> {
  const module = (await import(`busbar/${name}`)) as Record<string, Factory | undefined>
  const factory = module[name]
  if (factory === undefined) throw new Error(`busbar/${name} exports no ${name}()`)
  return factory
}

const SERVICES = ['rabbitmq', 'nats', 'redis', 'kafka'] as const

function nothing(): void {}

export async function openBenchTransport(args: CaseArguments): Promise<BenchTransport> {
  const name = args.option('transport', 'memory')
  const extra = JSON.parse(args.option('transport-options', '{}')) as object
  const factory = await factoryOf(name)
  if (name === 'memory') return { transport: factory(extra), remove: nothing }
  if (name === 'sqlite') {
    const folder = mkdtempSync(join(tmpdir(), 'busbar-bench-'))
    return {
      transport: factory({ path: join(folder, 'bench.db'), ...extra }),
      remove: () => rmSync(folder, { recursive: true, force: true }),
    }
  }
  const service = SERVICES.find((known) => known === name)
  if (service === undefined) throw new Error(`unknown transport ${name}`)
  return { transport: factory({ url: requiredUrl(service), ...extra }), remove: nothing }
}
