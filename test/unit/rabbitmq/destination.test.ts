import { expect, test } from 'vitest'
import { RabbitMqDelivery } from '../../../src/transports/rabbitmq/consume/delivery.ts'
import type { QueueConsumer } from '../../../src/transports/rabbitmq/consume/queue-consumer.ts'

function destination(exchange: string, routingKey: string, queue: string): string {
  return new RabbitMqDelivery({
    message: undefined as never,
    reader: { queue } as QueueConsumer,
    exchange,
    routingKey,
    deliveryTag: 1,
    offset: undefined,
    base: 0,
    isRedelivered: false,
    count: undefined,
    firstDeliveredAt: undefined,
    bytes: 0,
    carried: undefined,
  }).destination
}

test('a destination names the exchange, the routing key without its bucket, and the queue, as OpenTelemetry wants it', () => {
  expect(destination('busbar', 'orders.placed.~7', 'busbar:orders.placed:billing:3')).toBe(
    'busbar:orders.placed:busbar:orders.placed:billing:3',
  )
})

test('the default exchange has no name, and its routing key is the queue', () => {
  expect(destination('', 'jobs', 'jobs')).toBe('jobs')
})
