import type { NatsBroker } from '../../../tools/brokers/types.ts'
import type { Meter, Reading } from '../meter.ts'
import { processFigures } from '../process-figures.ts'

interface Varz {
  readonly in_msgs: number
  readonly out_msgs: number
  readonly out_bytes: number
  readonly connections: number
  readonly subscriptions: number
}

interface Jsz {
  readonly streams: number
  readonly consumers: number
  readonly messages: number
}

export function natsMeter(broker: NatsBroker): Meter {
  const { monitorUrl } = broker
  const ask = async (path: string): Promise<unknown> => (await fetch(`${monitorUrl}${path}`)).json()
  return {
    async read(): Promise<Reading> {
      const varz = (await ask('/varz')) as Varz
      const jsz = (await ask('/jsz')) as Jsz
      const written = broker.pid === undefined ? NaN : processFigures(broker.pid).written
      return {
        counters: {
          'msg in': varz.in_msgs,
          'msg out': varz.out_msgs,
          // What goes to clients is written as well, but not to the disk.
          'disk B': written - varz.out_bytes,
        },
        objects: { streams: jsz.streams, consumers: jsz.consumers, records: jsz.messages },
        connections: varz.connections,
      }
    },
    async [Symbol.asyncDispose]() {},
  }
}
