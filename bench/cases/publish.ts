import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measureRate } from '../harness/measure-rate.ts'
import { openBenchBus } from './bench-bus.ts'

// Publishing alone, nobody consumes: each batch is confirmed before its lane sends the next one.

const args = readCaseArguments()
const { bus, source, close } = await openBenchBus(args)
const { event, items } = source
await bus.start()

const output = await measureRate(args, async (deadline) => {
  let confirmed = 0
  const lanes = Array.from({ length: args.number('lanes', 1) }, async () => {
    while (!deadline.passed) {
      const results = await bus.publishMany(event, items)
      confirmed += results.length
    }
  })
  await Promise.all(lanes)
  return confirmed
})
await close()
printCaseOutput(output)
