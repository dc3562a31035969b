import { createBus } from 'busbar'
import type { Transport } from 'busbar'
import { childProgram, tcpProxy } from 'busbar/testing'
import type { Child, ChildProgram, ChildRecord, TcpProxy } from 'busbar/testing'
import { run as consume } from './consumer.ts'
import { run as publish } from './publisher.ts'

/** A process of the soak, or a bus of its own in this process. */
export interface Member {
  /** Unique; a member that died does not come back under it. */
  readonly name: string
  /** Empty for the publisher. */
  readonly group: string
  readonly records: () => readonly ChildRecord[]
  /** Closes it in order. Throws when it takes longer than 15 s. */
  readonly stop: () => Promise<void>
  /** Undefined when it is well. */
  readonly unwell: () => Promise<string | undefined>
  /** What only a process has. */
  readonly child: Child | undefined
  /** What only a connection over TCP has. */
  readonly proxy: TcpProxy | undefined
  /** When it was killed or stopped, in ms since 1970. */
  endedAt: number | undefined
}

const PROGRAMS = { consumer: consume, publisher: publish }

/** How members come to be. */
export type MemberFactory = (
  name: string,
  group: string,
  program: 'consumer' | 'publisher',
  argument: unknown,
) => Promise<Member>

/**
 * Members that are processes. `urlOf` gives the URL for a broker at that address, or the only URL when there is no address. `module`
 * makes their transport of it.
 */
export function processes(
  urlOf: (at: { readonly host: string; readonly port: number }) => string,
  broker: { readonly host: string; readonly port: number } | undefined,
  module: URL = new URL('./transport.ts', import.meta.url),
): MemberFactory {
  return async (name, group, program, argument) => {
    const proxy = broker === undefined ? undefined : await tcpProxy(broker)
    const child = await childProgram({
      module,
      program: new URL(`./${program}.ts`, import.meta.url),
      argument,
      service: name,
      env: { BUSBAR_CHAOS_URL: urlOf(proxy ?? { host: '', port: 0 }) },
      startTimeoutMs: 90_000,
    })
    return {
      name,
      group,
      child,
      proxy,
      endedAt: undefined,
      records: () => child.records(),
      stop: async () => {
        await child.stop({ timeoutMs: 15_000 })
      },
      unwell: async () => {
        const { status, consumers, transports } = await child.health()
        return status === 'ok' ? undefined : `${name} of ${group}: ${JSON.stringify({ consumers, transports })}`
      },
    }
  }
}

/** Members that are buses of this process, for a broker that lives in it. */
export function buses(create: () => Transport): MemberFactory {
  return async (name, group, program, argument) => {
    // What a process would be given as JSON.
    const run = PROGRAMS[program] as ChildProgram<unknown>
    const records: ChildRecord[] = []
    const bus = createBus({ service: name, transport: create() })
    const started = run(bus, (type, id, more) => records.push({ type, id, ...more, at: Date.now() }), argument)
    await bus.start()
    // A lane of the publisher ends when its bus is closed.
    const running = started?.() ?? Promise.resolve()
    return {
      name,
      group,
      child: undefined,
      proxy: undefined,
      endedAt: undefined,
      records: () => records,
      stop: async () => {
        await bus.close({ timeoutMs: 15_000 })
        await running
      },
      unwell: async () => {
        const { status, consumers } = await bus.health()
        return status === 'ok' ? undefined : `${name} of ${group}: ${JSON.stringify(consumers)}`
      },
    }
  }
}
