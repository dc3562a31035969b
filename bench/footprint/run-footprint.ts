import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { Broker } from '../../tools/brokers/index.ts'
import { replaceSection } from '../../tools/markdown.ts'
import { ensureBuild } from '../runner/ensure-build.ts'
import { ensurePeers } from '../runner/ensure-peers.ts'
import { PROJECT_FOLDER } from '../runner/folders.ts'
import { describeMachine, machineText } from '../runner/machine.ts'
import { parseFootprintArguments } from './arguments.ts'
import type { FootprintArguments, FootprintBroker } from './arguments.ts'
import { footprintTable } from './footprint-table.ts'
import { measureFootprint } from './measure-footprint.ts'
import type { Footprint } from './measure-footprint.ts'
import type { Meter } from './meter.ts'
import { natsMeter } from './meters/nats.ts'
import { rabbitmqMeter } from './meters/rabbitmq.ts'
import { redisMeter } from './meters/redis.ts'

const PAGE = join(PROJECT_FOLDER, 'docs', 'reference', 'benchmarks.md')
const PLAIN = { rabbitmq: 'amqplib', nats: '@nats-io/jetstream', redis: 'node-redis' } as const

interface Metered {
  readonly broker: Broker
  readonly meter: Meter
}

/** Redis rewrites its append-only file when it has grown enough; that is not the consumers' doing. */
async function startMetered(name: FootprintBroker): Promise<Metered> {
  switch (name) {
    case 'rabbitmq': {
      const broker = await startPrivate('rabbitmq')
      return { broker, meter: rabbitmqMeter(broker) }
    }
    case 'nats': {
      const broker = await startPrivate('nats')
      return { broker, meter: natsMeter(broker) }
    }
    case 'redis': {
      const broker = await startPrivate('redis', { args: ['--auto-aof-rewrite-percentage', '0'] })
      return { broker, meter: await redisMeter(broker) }
    }
  }
}

/** Every run has a broker of its own: what another left behind would be in the figures. */
async function measureOne(
  name: FootprintBroker,
  who: string,
  topics: number,
  args: FootprintArguments,
): Promise<{ readonly row: Footprint; readonly version: string }> {
  const { broker, meter } = await startMetered(name)
  await using _broker = broker
  await using _meter = meter
  const { pid } = broker
  if (pid === undefined)
    throw new Error('The footprint of a server is read from its process: it must run on this machine')
  const { groups, members, keys, options } = args
  const task = { broker: name, url: broker.url, topics, groups, members, keys, options }
  const file = who === 'busbar' ? 'footprint/busbar-consumers.ts' : `peers/footprint-${name}.ts`
  const consumers = { file, task, source: args.source }
  const row = await measureFootprint(who, pid, meter, consumers, args.seconds)
  return { row, version: broker.version }
}

export async function runFootprint(argv: readonly string[]): Promise<number> {
  const args = parseFootprintArguments(argv)
  if (!args.source) await ensureBuild()
  await ensurePeers()
  let failed = false
  for (const name of args.brokers) {
    const rows: Footprint[] = []
    let server: string = name
    for (const topics of args.topics)
      for (const who of args.alone ? ['busbar'] : ['busbar', PLAIN[name]]) {
        process.stderr.write(`${name}: ${topics} topics × ${args.groups} groups, ${who}\n`)
        try {
          const { row, version } = await measureOne(name, who, topics, args)
          rows.push(row)
          server = `${name} ${version}`
        } catch (error) {
          // The other runs are worth as much without it.
          process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
          failed = true
        }
      }
    const table = footprintTable(rows)
    process.stdout.write(`${table}\n\n`)
    if (args.writeDocs) writeSection(name, server, table, args)
  }
  return failed ? 1 : 0
}

function writeSection(name: FootprintBroker, server: string, table: string, args: FootprintArguments): void {
  const date = new Date().toISOString().slice(0, 10)
  const more = [
    ...(args.members > 1 ? [`--members ${args.members}`] : []),
    ...(args.keys > 0 ? [`--keys ${args.keys}`] : []),
    ...(args.options === '' ? [] : [`--options '${args.options}'`]),
  ]
  const shape = [`--topics ${args.topics.join(',')} --groups ${args.groups}`, ...more].join(' ')
  const command = `npm run bench -- footprint ${name} ${shape} --seconds ${args.seconds}`
  const text = `Measured ${date} with \`${command}\` on ${machineText(describeMachine())}; ${server}.\n\n${table}`
  writeFileSync(PAGE, replaceSection(readFileSync(PAGE, 'utf8'), `footprint:${name}`, text))
}
