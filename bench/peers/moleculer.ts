import { ServiceBroker } from 'moleculer'
import type { Context } from 'moleculer'
import { Backlog } from '../harness/backlog.ts'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measureLatency } from '../harness/measure-latency.ts'
import { measureRate } from '../harness/measure-rate.ts'
import { makeOrders } from '../harness/payload.ts'
import type { Order } from '../harness/payload.ts'
import { requiredUrl } from '../harness/required-url.ts'

// Moleculer's emit to the handler of a service, 1,000 at a time: of the same node, or, with `--transporter=nats`, of another
// node in the same process.

const args = readCaseArguments()
const remote = args.option('transporter', 'none') === 'nats'
const orders = makeOrders(1_000, args.number('bytes', 100))
const backlog = new Backlog(4_000)
let sum = 0
let onProbe: ((index: number) => void) | undefined

function makeBroker(nodeID: string): ServiceBroker {
  return new ServiceBroker({
    nodeID,
    logger: false,
    metrics: false,
    tracing: false,
    ...(remote ? { transporter: { type: 'NATS', options: { url: requiredUrl('nats') } } } : {}),
  })
}

const handling = makeBroker('handling')
const emitting = remote ? makeBroker('emitting') : handling
handling.createService({
  name: 'billing',
  events: {
    'orders.placed': async (ctx: Context<Order>) => {
      sum += ctx.params.total
      backlog.done()
    },
    'orders.probe': async (ctx: Context<{ index: number }>) => {
      onProbe?.(ctx.params.index)
    },
  },
})
await handling.start()
if (remote) {
  await emitting.start()
  await emitting.waitForServices('billing')
}

const output =
  args.option('mode', 'rate') === 'latency'
    ? await measureLatency(args, async (run) => {
        onProbe = (index) => run.arrived(index)
        return (index) => void emitting.emit('orders.probe', { index, ...orders[0] })
      })
    : await measureRate(args, async (deadline) => {
        const before = backlog.handled
        while (!deadline.passed) {
          if (backlog.full) await backlog.room()
          backlog.sent(orders.length)
          await Promise.all(orders.map((order) => emitting.emit('orders.placed', order)))
        }
        await backlog.empty()
        return backlog.handled - before
      })
if (remote) await emitting.stop()
await handling.stop()
if (Number.isNaN(sum)) throw new Error('the handler got no total')
printCaseOutput(output)
process.exit()
