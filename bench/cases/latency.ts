import { createBus } from 'busbar'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measureLatency } from '../harness/measure-latency.ts'
import { makeOrders } from '../harness/payload.ts'
import { openBenchTransport } from './bench-transport.ts'

const args = readCaseArguments()
const { transport, remove } = await openBenchTransport(args)
const bus = createBus({ service: 'bench', transport })
const topic = `bench.latency.t${process.pid}`
const [order] = makeOrders(1, args.number('bytes', 100) - '"index":1234,'.length)
let failed: unknown

const output = await measureLatency(args, async (run) => {
  bus.consume(
    topic,
    async (message) => {
      run.arrived((message.data as { index: number }).index)
    },
    { order: args.option('order', 'key') as 'key' | 'none' },
  )
  await bus.start()
  return (index) => {
    bus.publish(topic, { index, ...order }).catch((error: unknown) => {
      failed = error
    })
  }
})
await bus.close({ timeoutMs: 5_000 })
remove()
if (failed !== undefined) throw failed
printCaseOutput(output)
