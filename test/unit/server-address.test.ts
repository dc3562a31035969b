import { expect, test } from 'vitest'
import { serverOf as natsServer } from '../../src/transports/nats/connection/connect.ts'
import { parseUrl, serverOf as rabbitServer } from '../../src/transports/rabbitmq/connection/url.ts'
import { serverOf as redisServer } from '../../src/transports/redis/connection/given-client.ts'
import type { NativeClient, NativeSocket } from '../../src/transports/redis/connection/given-client.ts'

function redisClient(socket?: NativeSocket): NativeClient {
  return { options: { socket } } as unknown as NativeClient
}

test.each([
  ['RabbitMQ', rabbitServer(parseUrl('amqp://me:secret@mq.example/orders')), 'mq.example', 5672],
  ['RabbitMQ with TLS', rabbitServer(parseUrl('amqps://me:secret@mq.example')), 'mq.example', 5671],
  ['RabbitMQ over IPv6', rabbitServer(parseUrl('amqp://[::1]:5673')), '::1', 5673],
  ['NATS', natsServer('nats.example:4222'), 'nats.example', 4222],
  ['NATS over IPv6', natsServer('[2001:db8::1]:4222'), '2001:db8::1', 4222],
  ['NATS on port 80', natsServer('nats.example'), 'nats.example', 80],
  ['Redis', redisServer(redisClient({ host: 'redis.example', port: 6380 })), 'redis.example', 6380],
  ['Redis by default', redisServer(redisClient()), 'localhost', 6379],
])(
  'the address of %s has the host as a name or a number, the port, and no credentials',
  (_system, server, host, port) => {
    expect(server).toEqual({ host, port })
  },
)

test('a Unix socket has no address', () => {
  expect(redisServer(redisClient({ path: '/run/redis.sock' }))).toBeUndefined()
})
