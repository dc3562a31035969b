import type { Bus } from 'busbar'
import { Backlog } from '../harness/backlog.ts'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measureRate } from '../harness/measure-rate.ts'
import type { Deadline } from '../harness/measure-rate.ts'
import { allAcked, openBenchBus } from './bench-bus.ts'
import type { MessageSource } from './message-source.ts'

// Publish -> handler -> ack in one process. `--publish many` sends batches; `--publish single` keeps `--outstanding` awaited
// single publishes going at any time.

const args = readCaseArguments()
const { bus, source, consume, close } = await openBenchBus(args)
const backlog = new Backlog(args.number('backlog', 4_000))
const handle = consume(backlog)
await bus.start()
const send = args.option('publish', 'many') === 'many' ? sendMany : sendSingle

const output = await measureRate(args, async (deadline) => {
  const before = backlog.handled
  await send(bus, source, deadline)
  await backlog.empty()
  await allAcked(handle, backlog.handled)
  return backlog.handled - before
})
await close()
printCaseOutput(output)

async function sendMany(bus: Bus, { event, items }: MessageSource, deadline: Deadline): Promise<void> {
  const lanes = Array.from({ length: args.number('lanes', 1) }, async () => {
    while (!deadline.passed) {
      if (backlog.full) await backlog.room()
      backlog.sent(items.length)
      await bus.publishMany(event, items)
    }
  })
  await Promise.all(lanes)
}

async function sendSingle(bus: Bus, { event, items }: MessageSource, deadline: Deadline): Promise<void> {
  const outstanding = args.number('outstanding', 1_000)
  const lanes = Array.from({ length: outstanding }, async (_, lane) => {
    const item = items[lane % items.length]
    if (item === undefined) throw new Error('there is nothing to publish')
    const options = item.key === undefined ? undefined : { key: item.key }
    while (!deadline.passedRoughly) {
      if (backlog.full) await backlog.room()
      backlog.sent(1)
      await bus.publish(event, item.data, options)
    }
  })
  await Promise.all(lanes)
}
