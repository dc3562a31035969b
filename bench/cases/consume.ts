import { Backlog } from '../harness/backlog.ts'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measure } from '../harness/measure-rate.ts'
import { allAcked, openBenchBus } from './bench-bus.ts'

// Consuming alone: the topic is filled while the consumer is paused; the clock runs from resume to the last ack.

const args = readCaseArguments()
const { bus, source, consume, close } = await openBenchBus(args)
const backlog = new Backlog(Infinity)
const handle = consume(backlog)
await bus.start()

async function fill(count: number): Promise<void> {
  for (let left = count; left > 0; left -= source.items.length) {
    const items = source.items.slice(0, left)
    backlog.sent(items.length)
    await bus.publishMany(source.event, items)
  }
}

async function consumeAll(count: number): Promise<number> {
  handle.resume()
  await backlog.empty()
  await allAcked(handle, backlog.handled)
  return count
}

const warmup = Math.ceil(args.messages / 5)
handle.pause()
await fill(warmup)
await consumeAll(warmup)
handle.pause()
await fill(args.messages)
const output = await measure(() => consumeAll(args.messages))
await close()
printCaseOutput(output)
