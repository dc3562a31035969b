import { parseArgs } from 'node:util'
import { UsageError } from '../runner/arguments.ts'

/** The brokers whose footprint is measured. */
export const FOOTPRINT_BROKERS = ['rabbitmq', 'nats', 'redis'] as const
export type FootprintBroker = (typeof FOOTPRINT_BROKERS)[number]

export interface FootprintArguments {
  readonly brokers: readonly FootprintBroker[]
  /** Numbers of topics; each is a run of its own on an empty broker. */
  readonly topics: readonly number[]
  readonly groups: number
  /** Of each group, each with a connection of its own. More than one: what a member that joins or leaves costs is measured too. */
  readonly members: number
  /** So many keys have had a message before the consumers are watched. */
  readonly keys: number
  /** Options of Busbar's transport, as parameters of its URL; empty: all by default. */
  readonly options: string
  /** How long the idle consumers are watched. */
  readonly seconds: number
  /** Without the plain client, which may take minutes to start. */
  readonly alone: boolean
  readonly source: boolean
  readonly writeDocs: boolean
}

export const FOOTPRINT_USAGE: string = `Usage: npm run bench -- footprint [BROKER...] [options]

What idle consumers cost: objects on the broker, commands, bytes, connections, CPU and memory, beside the plain client.

Brokers: ${FOOTPRINT_BROKERS.join(' ')} (default: all)

  --topics LIST  numbers of topics, default 1,10,100
  --groups N     consumer groups on each topic, default 3
  --members N    members of each group, default 1; from 2 on, one more joins and leaves under load
  --keys N       first send a message for each of N keys to each topic, default none
  --options TEXT options of the transport, as parameters of its URL: 'partitions=64&queues=per-group'
  --seconds N    how long to watch them, default 20
  --alone        leave out the plain client
  --source       measure the TypeScript sources as they are, instead of the build in dist/
  --write-docs   put the tables into docs/reference/benchmarks.md
`

export function parseFootprintArguments(argv: readonly string[]): FootprintArguments {
  const { values, positionals } = parse(argv)
  const unknown = positionals.filter((name) => !(FOOTPRINT_BROKERS as readonly string[]).includes(name))
  if (unknown.length > 0) throw new UsageError(`Unknown broker: ${unknown.join(', ')}`)
  const named = FOOTPRINT_BROKERS.filter((name) => positionals.includes(name))
  return {
    brokers: named.length > 0 ? named : FOOTPRINT_BROKERS,
    topics: (values.topics ?? '1,10,100').split(',').map((text) => count('--topics', text)),
    groups: count('--groups', values.groups ?? '3'),
    members: count('--members', values.members ?? '1'),
    keys: values.keys === undefined ? 0 : count('--keys', values.keys),
    options: values.options ?? '',
    seconds: count('--seconds', values.seconds ?? '20'),
    alone: values.alone ?? false,
    source: values.source ?? false,
    writeDocs: values['write-docs'] ?? false,
  }
}

function count(option: string, text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value > 0) return value
  throw new UsageError(`${option} takes whole numbers from 1, got "${text}"`)
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        topics: { type: 'string' },
        groups: { type: 'string' },
        members: { type: 'string' },
        keys: { type: 'string' },
        options: { type: 'string' },
        seconds: { type: 'string' },
        alone: { type: 'boolean' },
        source: { type: 'boolean' },
        'write-docs': { type: 'boolean' },
      },
    })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}
