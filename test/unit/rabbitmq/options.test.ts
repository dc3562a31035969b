import { expect, test } from 'vitest'
import { resolveRabbitMqOptions } from '../../../src/transports/rabbitmq/resolve-options.ts'

test('a frame_max that RabbitMQ 4.1 refuses is refused here, with the value that it needs', () => {
  const read = (frameMax: number): unknown => resolveRabbitMqOptions({ url: `amqp://host?frame_max=${frameMax}` })
  expect(() => read(4_096)).toThrow(/frame_max=4096: RabbitMQ wants 8192 at least/)
  for (const fine of [0, 8_192, 131_072]) read(fine)
})

test('quorumArguments may not limit or move messages: they apply to delays and dead letters too', () => {
  const read = (quorumArguments: Record<string, unknown>): unknown => resolveRabbitMqOptions({ quorumArguments })
  for (const name of ['x-max-length', 'x-message-ttl', 'x-dead-letter-exchange', 'x-queue-type'])
    expect(() => read({ [name]: 1 })).toThrow(new RegExp(`quorumArguments.${name}`))
  read({ 'x-quorum-initial-group-size': 5 })
})
