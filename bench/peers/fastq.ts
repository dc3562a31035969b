import * as fastq from 'fastq'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measureRate } from '../harness/measure-rate.ts'
import { makeOrders } from '../harness/payload.ts'
import type { Order } from '../harness/payload.ts'

// The promise form, 1,000 pushes at a time, concurrency 64.

const args = readCaseArguments()
const orders = makeOrders(1_000, 100)
let handled = 0
let sum = 0
const queue = fastq.promise(async (order: Order) => {
  sum += order.total
  handled++
}, 64)

const output = await measureRate(args, async (deadline) => {
  const before = handled
  while (!deadline.passed) await Promise.all(orders.map((order) => queue.push(order)))
  return handled - before
})
if (Number.isNaN(sum)) throw new Error('the handler got no total')
printCaseOutput(output)
