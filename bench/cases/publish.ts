import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measureRate } from '../harness/measure-rate.ts'
import type { Deadline } from '../harness/measure-rate.ts'
import { openBenchBus } from './bench-bus.ts'

// Publishing alone, nobody consumes. `--publish=many`: each batch is confirmed before its lane sends the next one;
// `--publish=single`: `--outstanding` awaited single publishes at any time.

const args = readCaseArguments()
const { bus, source, close } = await openBenchBus(args)
const { event, items } = source
await bus.start()

const output = await measureRate(args, args.option('publish', 'many') === 'many' ? many : single)
await close()
printCaseOutput(output)

async function many(deadline: Deadline): Promise<number> {
  let confirmed = 0
  const lanes = Array.from({ length: args.number('lanes', 1) }, async () => {
    while (!deadline.passed) {
      const results = await bus.publishMany(event, items)
      confirmed += results.length
    }
  })
  await Promise.all(lanes)
  return confirmed
}

async function single(deadline: Deadline): Promise<number> {
  let confirmed = 0
  const lanes = Array.from({ length: args.number('outstanding', 1_000) }, async (_, lane) => {
    const item = items[lane % items.length]
    if (item === undefined) throw new Error('there is nothing to publish')
    const options = item.key === undefined ? undefined : { key: item.key }
    while (!deadline.passedRoughly) {
      await bus.publish(event, item.data, options)
      confirmed++
    }
  })
  await Promise.all(lanes)
  return confirmed
}
