// The transport of each process of the chaos soak on Kafka: the broker names its own address, and is reached at that of the URL.
import type { Transport } from 'busbar'
import { kafka } from 'busbar/kafka'
import { through } from '../../conformance/kafka-suite.ts'

export const create = (): Transport => {
  const url = process.env['BUSBAR_CHAOS_URL'] ?? ''
  const { hostname, port } = new URL(url)
  return kafka({ url, native: { client: { openSocket: through({ host: hostname, port: Number(port) }) } } })
}
