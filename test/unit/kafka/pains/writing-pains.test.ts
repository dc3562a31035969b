import { expect, it } from 'vitest'
import type { KafkaError } from '../../../../src/kafka/errors.ts'
import { CODECS } from '../../../../src/kafka/records/batch-format.ts'
import { watch } from '../producer/producer-setup.ts'
import { numbers } from '../consumer/sim-consumer.ts'
import { PainWorld } from './pain-world.ts'

const CONCURRENT_TRANSACTIONS = 51

it('idempotence breaks under concurrency or timeouts: sends side by side, lost answers and restarts leave no gap', async () => {
  const world = new PainWorld(2, { brokers: 3 })
  const seen = world.consume(world.consumer())
  const producer = world.producer({ ackTimeoutMs: 500 }, { requestTimeoutMs: 1_000 })
  const sent = []
  for (let id = 0; id < 400; id++) {
    sent.push(watch(world, producer.send({ topic: 't', value: String(id), partition: id % 2 })))
    if (id % 20 === 3)
      world.script.on('Produce', 1 + world.random.below(3), {
        do: world.random.pick(['dropAnswer', 'closeAfter', 'drop']),
      })
    if (id === 150) world.kill(1)
    if (id === 200) world.start(1)
    if (id === 300) void world.freeze(2, 5_000)
    if (world.random.chance(0.3)) await world.advance(world.random.below(100))
  }
  await world.advance(60_000)
  expect(sent.filter(({ error, settledAt }) => error !== undefined || settledAt === undefined)).toEqual([])
  for (const partition of [0, 1]) {
    expect(seen.get(partition)).toEqual(numbers(400).filter((id) => Number(id) % 2 === partition))
  }
  await world.end()
})

it('producer failure escapes as unhandled rejection: every send settles by its deadline, awaited or not', async () => {
  const unhandled: unknown[] = []
  const onUnhandled = (reason: unknown) => void unhandled.push(reason)
  process.on('unhandledRejection', onUnhandled)
  const world = new PainWorld(1, { brokers: 1 })
  const producer = world.producer({ deliveryTimeoutMs: 5_000, ackTimeoutMs: 500 }, { requestTimeoutMs: 1_000 })
  await world.run(producer.send({ topic: 't', value: 'warm' }))
  world.script.on('Produce', 1, { do: 'drop' }, { times: 100 })
  const start = world.clock.now()
  const watched = numbers(100).map((value) => watch(world, producer.send({ topic: 't', value })))
  // Nobody looks at these.
  for (const value of numbers(50)) void producer.send({ topic: 't', value })
  void producer.sendMany(
    't',
    numbers(50).map((value) => ({ value })),
  )
  void producer.send({ topic: '', value: 'no such name' })
  await world.advance(1)
  world.kill(1)
  await world.advance(10_000)
  for (const { error, settledAt = Infinity } of watched) {
    expect(error?.code).toBe('DELIVERY_TIMEOUT')
    expect(settledAt - start).toBeLessThanOrEqual(6_001)
  }
  await world.end()
  await new Promise((resolve) => setImmediate(resolve))
  process.off('unhandledRejection', onUnhandled)
  expect(unhandled).toEqual([])
})

it('transactions fenced wrongly: what passes is waited for, and only a newer producer with the id fences', async () => {
  const world = new PainWorld(1, { brokers: 3 })
  const seen = world.consume(world.consumer())
  const options = { transactionalId: 'one', transactionTimeoutMs: 10_000, ackTimeoutMs: 1_000 }
  const producer = world.producer(options, { requestTimeoutMs: 2_000 })
  const write = (from: ReturnType<PainWorld['producer']>, value: string) =>
    world.run(from.transaction(async (tx) => void (await tx.send({ topic: 't', value, partition: 0 }))))
  for (const [index, api] of (['InitProducerId', 'EndTxn', 'Produce', 'EndTxn'] as const).entries()) {
    if (api !== 'Produce') world.script.on(api, 1, { do: 'error', code: CONCURRENT_TRANSACTIONS }, { times: 3 })
    world.script.on(api, 5, { do: 'dropAnswer' })
    world.coordinators.move('transaction', 'one', 1 + (index % 3))
    await write(producer, String(index))
    world.script.clear()
  }
  const zombie = producer
  const newer = world.producer(options)
  await write(newer, '4')
  const error = await write(zombie, 'of the zombie').catch((reason: KafkaError) => reason)
  expect(error).toMatchObject({ action: 'fenced' })
  await write(newer, '5')
  await world.advance(1_000)
  expect(seen.get(0)).toEqual(numbers(6))
  await world.end()
})

it('wire details found late: null and empty, keys given twice, and every codec come back as they were sent', async () => {
  const world = new PainWorld(1, { brokers: 1 })
  const records = [
    { key: 'k', value: null },
    { key: 'k', value: '' },
    { key: '', value: 'x' },
    { key: null, value: 'x'.repeat(3_000) },
    {
      key: 'k',
      value: 'ü€😀',
      headers: [
        { key: 'h', value: '1' },
        { key: 'h', value: '2' },
        { key: 'n', value: null },
        { key: 'e', value: '' },
      ],
    },
  ] as const
  const consumer = world.consumer()
  for (const codec of CODECS) {
    const producer = world.producer({ compression: codec })
    // Several batches in one answer.
    for (let round = 0; round < 3; round++) await world.run(producer.sendMany('t', records))
  }
  const found: unknown[] = []
  while (found.length < CODECS.length * 3 * records.length) {
    // A thread decompresses.
    const { value: batch } = await world.run(consumer.next())
    for (const { keyText, valueText, headers } of batch ?? []) {
      found.push([keyText, valueText, headers.map(({ key, value }) => [key, value?.toString() ?? null])])
    }
    batch?.done()
  }
  const expected = records.map((record) => {
    const headers = 'headers' in record ? record.headers.map(({ key, value }) => [key, value]) : []
    return [record.key, record.value, headers]
  })
  expect(found).toEqual(Array.from({ length: CODECS.length * 3 }, () => expected).flat())
  await world.run(consumer.close())
  await world.end()
})
