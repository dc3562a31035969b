import assert from 'node:assert/strict'
import { ftruncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import { BodyBudget } from '../../../src/transports/rabbitmq/consume/body-budget.ts'
import type { RabbitMqDelivery } from '../../../src/transports/rabbitmq/consume/delivery.ts'
import { encoded } from '../core/stub-transport.ts'

const BYTES = 100

function arrived(id: string): RabbitMqDelivery {
  return {
    message: encoded(id, { body: Buffer.from(id.repeat(10)) }),
    bytes: BYTES,
    place: undefined,
  } as RabbitMqDelivery
}

function made(folder: string | false = tmpdir(), limit = 2 * BYTES) {
  const clock = manualClock()
  const said: string[] = []
  const budget = new BodyBudget(limit, folder === false ? undefined : folder, clock, {
    hasRoom: () => said.push('room'),
    failed: (_, doing) => said.push(doing),
  })
  const arrive = (...ids: string[]): RabbitMqDelivery[] => {
    const deliveries = ids.map((id) => arrived(id))
    for (const delivery of deliveries) budget.arrived(delivery)
    return deliveries
  }
  return { budget, clock, said, arrive }
}

const isOnDisk = (deliveries: readonly RabbitMqDelivery[]): boolean[] =>
  deliveries.map(({ place }) => place !== undefined)

test('bodies beyond the limit wait on disk, and so do all that come while some do', () => {
  const { budget, said, arrive } = made()
  const [a, b, c] = arrive('a', 'b', 'c') as [RabbitMqDelivery, RabbitMqDelivery, RabbitMqDelivery]
  assert.deepEqual(isOnDisk([a, b, c]), [false, false, true])
  assert.equal(c.message.body?.byteLength, 0)
  assert.equal(budget.load(c), false)
  budget.left(a)
  assert.deepEqual(said, ['room'])
  // There is room, but it belongs to the one that has waited for longer.
  const [d] = arrive('d') as [RabbitMqDelivery]
  assert.deepEqual(isOnDisk([d]), [true])
  assert.equal(budget.load(c), true)
  assert.equal(Buffer.from(c.message.body).toString(), 'c'.repeat(10))
  assert.equal(budget.load(d), false)
  for (const delivery of [b, c]) budget.left(delivery)
  assert.equal(budget.load(d), true)
  assert.deepEqual(isOnDisk(arrive('e')), [false])
  budget.close()
})

test('one that is larger than the limit has room alone', () => {
  const { budget, arrive } = made(tmpdir(), BYTES / 2)
  const [a, b] = arrive('a', 'b') as [RabbitMqDelivery, RabbitMqDelivery]
  assert.deepEqual(isOnDisk([a, b]), [false, true])
  assert.equal(budget.load(b), false)
  budget.left(a)
  assert.equal(budget.load(b), true)
  budget.close()
})

test('what goes back unread needs no room, and takes none', () => {
  const { budget, arrive } = made()
  const [, , c] = arrive('a', 'b', 'c') as [RabbitMqDelivery, RabbitMqDelivery, RabbitMqDelivery]
  budget.left(c)
  assert.equal(c.place, undefined)
  assert.equal(budget.mayCome(false), false)
  budget.close()
})

test('without a folder, or while the disk takes nothing, bodies stay in memory; the failure is reported once a minute', async () => {
  const none = made(false)
  assert.deepEqual(isOnDisk(none.arrive('a', 'b', 'c')), [false, false, false])
  const { budget, clock, said, arrive } = made('/nowhere/at/all')
  assert.deepEqual(isOnDisk(arrive('a', 'b', 'c', 'd')), [false, false, false, false])
  assert.deepEqual(said, ['keeping messages beyond prefetchBytes on disk'])
  await clock.advance(60_000)
  arrive('e')
  assert.equal(said.length, 2)
  budget.close()
})

test('a body that can not be read goes back, and does not go to that disk again when it comes again', () => {
  const { budget, arrive } = made()
  const [a, b, c] = arrive('a', 'b', 'c') as [RabbitMqDelivery, RabbitMqDelivery, RabbitMqDelivery]
  budget.left(a)
  ftruncateSync(c.place?.part.file as number)
  assert.throws(() => budget.load(c), /the file ends before the body does/)
  for (const delivery of [b, c]) budget.left(delivery)
  assert.deepEqual(isOnDisk(arrive('a', 'b', 'c')), [false, false, false])
  budget.close()
})
