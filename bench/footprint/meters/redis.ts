import { createClient } from 'redis'
import type { RedisBroker } from '../../../tools/brokers/types.ts'
import type { Meter, Reading } from '../meter.ts'

/** Its own commands, which are no cost of anybody else. */
const OWN: ReadonlySet<string> = new Set(['info', 'dbsize', 'hello', 'client|setinfo', 'config|resetstat'])

export async function redisMeter(broker: RedisBroker): Promise<Meter> {
  const client = createClient({ url: broker.url })
  await client.connect()
  return {
    async read(): Promise<Reading> {
      const info = new Map((await client.info('everything')).split('\r\n').map(pair))
      let commands = 0
      for (const [name, value] of info)
        if (name.startsWith('cmdstat_') && !OWN.has(name.slice('cmdstat_'.length)))
          commands += Number(/calls=(\d+)/.exec(value)?.[1])
      return {
        // Those inside of scripts count too: the server executes them like any other.
        counters: { commands: commands, 'AOF B': Number(info.get('aof_current_size')) },
        objects: { keys: await client.dbSize() },
        connections: Number(info.get('connected_clients')) - 1,
      }
    },
    async [Symbol.asyncDispose]() {
      await client.close()
    },
  }
}

function pair(line: string): readonly [string, string] {
  const colon = line.indexOf(':')
  return [line.slice(0, colon), line.slice(colon + 1)]
}
