// oxlint-disable-next-line import/no-unassigned-import -- NestJS wants it loaded for its effect
import 'reflect-metadata'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { Controller, Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { ClientProxyFactory, Ctx, EventPattern, Payload, Transport } from '@nestjs/microservices'
import type { ClientOptions, MicroserviceOptions, RmqContext } from '@nestjs/microservices'
import kafkajs from 'kafkajs'
import { Backlog } from '../harness/backlog.ts'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measureLatency } from '../harness/measure-latency.ts'
import { measureRate } from '../harness/measure-rate.ts'
import { makeOrders } from '../harness/payload.ts'
import type { Order } from '../harness/payload.ts'
import { requiredUrl } from '../harness/required-url.ts'

// A NestJS microservice and its client in one process: emit -> broker -> @EventPattern. At most 1,000 events on their way.
// `--broker` is tcp, nats, redis (pub/sub), kafka, or rabbitmq; `--ack=manual` makes the latter at least once.

const { Kafka, logLevel } = kafkajs
const args = readCaseArguments()
/** Of each topic of Kafka. */
const PARTITIONS = 6
const orders = makeOrders(1_000, args.number('bytes', 100))
const manualAck = args.option('ack', 'none') === 'manual'
const backlog = new Backlog(1_000)
let sum = 0
let onProbe: ((index: number) => void) | undefined

class OrdersController {
  async placed(order: Order, ctx: RmqContext): Promise<void> {
    sum += order.total
    if (manualAck) ctx.getChannelRef().ack(ctx.getMessage())
    backlog.done()
  }

  async probe(data: { readonly index: number }, ctx: RmqContext): Promise<void> {
    if (manualAck) ctx.getChannelRef().ack(ctx.getMessage())
    onProbe?.(data.index)
  }
}

// oxlint-disable-next-line typescript/no-extraneous-class -- a NestJS module is an empty class
class AppModule {}

/** Decorators called by hand: their syntax is not erasable. */
function decorate(): void {
  for (const [method, pattern] of [
    ['placed', 'orders.placed'],
    ['probe', 'orders.probe'],
  ] as const) {
    const descriptor = Object.getOwnPropertyDescriptor(OrdersController.prototype, method)
    if (descriptor === undefined) throw new Error(`no method ${method}`)
    Payload()(OrdersController.prototype, method, 0)
    Ctx()(OrdersController.prototype, method, 1)
    EventPattern(pattern)(OrdersController.prototype, method, descriptor)
  }
  Controller()(OrdersController)
  Module({ controllers: [OrdersController] })(AppModule)
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => {
    server.once('listening', resolve)
  })
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => {
    server.close(resolve)
  })
  return port
}

async function brokerOptions(): Promise<ClientOptions> {
  switch (args.option('broker', 'tcp')) {
    case 'tcp':
      return { transport: Transport.TCP, options: { host: '127.0.0.1', port: await freePort() } }
    case 'nats':
      return { transport: Transport.NATS, options: { servers: [requiredUrl('nats')] } }
    case 'redis': {
      const { hostname, port } = new URL(requiredUrl('redis'))
      return { transport: Transport.REDIS, options: { host: hostname, port: Number(port) } }
    }
    case 'rabbitmq':
      return {
        transport: Transport.RMQ,
        options: {
          urls: [requiredUrl('rabbitmq')],
          queue: `bench.nest.${process.pid}`,
          queueOptions: { durable: true, autoDelete: true },
          persistent: true,
          noAck: !manualAck,
          prefetchCount: manualAck ? 1_000 : 0,
        },
      }
    case 'kafka': {
      const brokers = [new URL(requiredUrl('kafka')).host]
      await makeTopics(brokers)
      const consumer = { groupId: `bench.nest.${process.pid}` }
      const run = { partitionsConsumedConcurrently: PARTITIONS }
      const client = { clientId: 'bench', brokers, logLevel: logLevel.NOTHING }
      return { transport: Transport.KAFKA, options: { client, consumer, run } }
    }
    default:
      throw new Error(`unknown broker ${args.option('broker', '')}`)
  }
}

/** Its topics are its patterns. */
async function makeTopics(brokers: string[]): Promise<void> {
  const admin = new Kafka({ clientId: 'bench', brokers, logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  await admin.createTopics({
    topics: ['orders.placed', 'orders.probe'].map((topic) => ({ topic, numPartitions: PARTITIONS })),
  })
  await admin.disconnect()
}

/** Its server is ready long before its group has formed: an event that is sent earlier is not for it. */
async function firstArrived(): Promise<void> {
  const arrived = new Promise<void>((resolve) => {
    onProbe = () => resolve()
  })
  const timer = setInterval(() => client.emit('orders.probe', { index: 0, ...orders[0] }), 100)
  await arrived
  clearInterval(timer)
}

decorate()
const options = await brokerOptions()
const app = await NestFactory.createMicroservice(AppModule, { ...(options as MicroserviceOptions), logger: false })
await app.listen()
const client = ClientProxyFactory.create(
  // The client's own consumer is for replies, which RabbitMQ wants without acks.
  options.transport === Transport.RMQ
    ? { ...options, options: { ...options.options, noAck: true } }
    : options.transport === Transport.KAFKA
      ? { ...options, options: { ...options.options, producerOnlyMode: true } }
      : options,
)
await client.connect()
if (options.transport === Transport.KAFKA) await firstArrived()

const output =
  args.option('mode', 'rate') === 'latency'
    ? await measureLatency(args, async (run) => {
        onProbe = (index) => run.arrived(index)
        return (index) => void client.emit('orders.probe', { index, ...orders[0] })
      })
    : await measureRate(args, async (deadline) => {
        const before = backlog.handled
        for (let next = 0; !deadline.passedRoughly; next = (next + 1) % orders.length) {
          if (backlog.full) await backlog.room()
          backlog.sent(1)
          client.emit('orders.placed', orders[next])
        }
        await backlog.empty()
        return backlog.handled - before
      })
// Of some clients it is a promise, of others it is not.
await Promise.resolve(client.close())
await app.close()
if (Number.isNaN(sum)) throw new Error('the handler got no total')
printCaseOutput(output)
// Some of its transports leave a timer behind.
process.exit()
