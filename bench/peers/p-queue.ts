import PQueue from 'p-queue'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measureRate } from '../harness/measure-rate.ts'
import { makeOrders } from '../harness/payload.ts'

// 1,000 tasks at a time through a queue with concurrency 64.

const args = readCaseArguments()
const orders = makeOrders(1_000, 100)
const queue = new PQueue({ concurrency: 64 })
let sum = 0

const output = await measureRate(args, async (deadline) => {
  let handled = 0
  while (!deadline.passed) {
    await Promise.all(
      orders.map((order) =>
        queue.add(async () => {
          sum += order.total
          handled++
        }),
      ),
    )
  }
  return handled
})
if (Number.isNaN(sum)) throw new Error('the handler got no total')
printCaseOutput(output)
