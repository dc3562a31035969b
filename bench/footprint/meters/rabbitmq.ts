import type { RabbitMqBroker } from '../../../tools/brokers/types.ts'
import type { Meter, Reading } from '../meter.ts'

const COUNTED = ['queues', 'exchanges', 'bindings', 'channels'] as const

export function rabbitmqMeter(broker: RabbitMqBroker): Meter {
  const list = async (...command: readonly string[]): Promise<readonly string[]> =>
    (await broker.ctl('-q', ...command, '--no-table-headers')).split('\n').filter((line) => line.trim() !== '')
  return {
    async read(): Promise<Reading> {
      const connections = await list('list_connections', 'recv_oct', 'send_oct')
      const sum = (column: number): number =>
        connections.reduce((total, line) => total + Number(line.split('\t')[column]), 0)
      const objects: Record<string, number> = {}
      for (const kind of COUNTED) objects[kind] = (await list(`list_${kind}`)).length
      return { counters: { 'B in': sum(0), 'B out': sum(1) }, objects, connections: connections.length }
    },
    async [Symbol.asyncDispose]() {},
  }
}
