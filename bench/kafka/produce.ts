// What the producer costs, against a broker that throws everything away on another core:
//
//     node --conditions=busbar-source bench/kafka/produce.ts [seconds]
//
// Rate by the clock, and CPU time of this process for each record, which other programs on the machine disturb less.

import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import { Producer } from '../../src/kafka/producer/producer.ts'
import type { ProducerOptions } from '../../src/kafka/producer/producer-options.ts'
import { start, TOPIC } from './discarding-broker.ts'

const MiB = 1_048_576
const seconds = Number(process.argv[2] ?? 5)

/** Sends until `isOver`, and returns how many records were confirmed. */
type Load = (producer: Producer, isOver: () => boolean) => Promise<number>

/** `outstanding` arrays at a time. */
function arrays(size: number, count: number, outstanding: number): Load {
  const values = Array.from({ length: count }, () => ({ value: Buffer.alloc(size, 'x') }))
  return (producer, isOver) =>
    sideBySide(outstanding, isOver, async () => {
      await producer.sendMany(TOPIC, values)
      return count
    })
}

function singles(size: number, outstanding: number): Load {
  const record = { topic: TOPIC, value: Buffer.alloc(size, 'x') }
  return (producer, isOver) =>
    sideBySide(outstanding, isOver, async () => {
      await producer.send(record)
      return 1
    })
}

async function sideBySide(count: number, isOver: () => boolean, once: () => Promise<number>): Promise<number> {
  let sent = 0
  const run = async () => {
    while (!isOver()) {
      const count = await once()
      sent += count
    }
  }
  await Promise.all(Array.from({ length: count }, run))
  return sent
}

async function report(name: string, address: string, options: ProducerOptions, load: Load): Promise<void> {
  const cluster = new Cluster({ brokers: [address], clientId: 'bench' })
  const producer = new Producer(options, { cluster })
  const measure = async (ms: number) => {
    const end = performance.now() + ms
    const cpu = process.cpuUsage()
    const begin = performance.now()
    const sent = await load(producer, () => performance.now() >= end)
    const { user, system } = process.cpuUsage(cpu)
    return { rate: (1_000 * sent) / (performance.now() - begin), cpuNs: (1_000 * (user + system)) / sent }
  }
  await measure(1_000)
  const { rate, cpuNs } = await measure(1_000 * seconds)
  await producer.close()
  cluster.close()
  const rss = process.memoryUsage().rss / MiB
  const columns = [`${Math.round(rate / 1_000)} k/s`.padStart(12), `${cpuNs.toFixed(0)} ns CPU`.padStart(14)]
  console.log(`${name.padEnd(48)}${columns.join('')}${`${rss.toFixed(0)} MiB`.padStart(10)}`)
}

const broker = await start()
const { address } = broker
await report('arrays of 1,000 × 100 B', address, {}, arrays(100, 1_000, 8))
await report('arrays of 200 × 1 KB', address, {}, arrays(1_000, 200, 8))
await report('arrays of 1,000 × 100 B, lz4', address, { compression: 'lz4' }, arrays(100, 1_000, 8))
await report('one by one, 1,000 outstanding, 100 B', address, {}, singles(100, 1_000))
await report('one at a time, linger 0, 100 B', address, {}, singles(100, 1))
await broker.stop()
