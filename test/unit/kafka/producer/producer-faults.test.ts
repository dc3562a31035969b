import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { BlockMemory } from '../../../../src/kafka/producer/block-memory.ts'
import type { SendManyError } from '../../../../src/kafka/producer/deliveries.ts'
import { KafkaError } from '../../../../src/kafka/errors.ts'
import { nothingLeft, setUp, valuesOf, watch } from './producer-setup.ts'
import type { Parts } from './producer-setup.ts'

const REQUEST_TIMED_OUT = 7
const NOT_ENOUGH_REPLICAS = 19
const OUT_OF_ORDER = 45

/** One batch each: larger than half of `batchBytes`. */
const ONE_BATCH = { batchBytes: 1_024 }
const large = (name: number | string) => ({ topic: 't', value: `${name}:`.padEnd(900, '.') })
const names = async (parts: Parts, partition = 0) =>
  (await valuesOf(parts.sim, partition)).map((value) => value?.split(':')[0])

/** With a partition whose leader has confirmed a batch, so that several may be in flight. */
async function warm(options: Parameters<typeof setUp>[0] = ONE_BATCH, more: Parameters<typeof setUp>[1] = {}) {
  const parts = setUp(options, more)
  await parts.sim.run(parts.producer.send({ topic: 't', value: 'warm', partition: 0 }))
  const { sim, producer } = parts
  const send = (name: number | string) => watch(sim, producer.send(large(name)))
  const requests = () => sim.requests.filter(({ api }) => api === 'Produce').length
  return { ...parts, send, requests }
}

describe('the order of a partition', () => {
  it('is kept when a request fails and those behind it are refused', async () => {
    const parts = await warm()
    const { sim, send } = parts
    sim.script.on('Produce', 2, { do: 'error', code: NOT_ENOUGH_REPLICAS })
    const sent = [1, 2, 3, 4, 5, 6, 7].map(send)
    await sim.advance(5_000)
    expect(sent.map(({ error }) => error)).toEqual(sent.map(() => undefined))
    expect(await names(parts)).toEqual(['warm', '1', '2', '3', '4', '5', '6', '7'])
    expect(await nothingLeft(parts)).toEqual([0, 0])
  })

  it('is kept, without repetition, when answers are lost', async () => {
    const parts = await warm()
    const { sim, send } = parts
    sim.script.on('Produce', 2, { do: 'closeAfter' })
    sim.script.on('Produce', 6, { do: 'close' })
    const sent = [1, 2, 3, 4, 5, 6, 7].map(send)
    await sim.advance(10_000)
    expect(sent.map(({ error }) => error)).toEqual(sent.map(() => undefined))
    expect(await names(parts)).toEqual(['warm', '1', '2', '3', '4', '5', '6', '7'])
  })

  it('is kept when the leader moves, and the old one answers late', async () => {
    const parts = await warm(ONE_BATCH, { partitions: 1 })
    const { sim, send } = parts
    for (let move = 0; move < 20; move++) {
      sim.script.on('Produce', 2, { do: 'delayAnswer', ms: 1_000 })
      for (let index = 0; index < 8; index++) send(8 * move + index)
      await sim.advance(5)
      sim.moveLeader('t', 0, ((move + 1) % 3) + 1)
      await sim.advance(move % 2 === 0 ? 20 : 3_000)
    }
    await sim.advance(30_000)
    expect(await names(parts)).toEqual(['warm', ...Array.from({ length: 160 }, (_, index) => String(index))])
  })

  it('takes the leader that a refusal names, without asking for metadata first', async () => {
    const { sim, producer } = await warm()
    sim.moveLeader('t', 0, 3)
    const asked = sim.requests.filter(({ api }) => api === 'Metadata').length
    const start = sim.clock.now()
    await sim.run(producer.send({ topic: 't', value: 'moved' }))
    expect(sim.clock.now() - start).toBeLessThan(20)
    expect(sim.requests.filter(({ api }) => api === 'Metadata').length - asked).toBeLessThanOrEqual(1)
  })
})

describe('what is in doubt', () => {
  it('C01: ends as unknown at its deadline, and nothing behind it is stuck', async () => {
    const options = { ...ONE_BATCH, deliveryTimeoutMs: 2_000, ackTimeoutMs: 500 }
    const more = { sim: { brokers: 1 }, cluster: { requestTimeoutMs: 1_000 } }
    const parts = await warm(options, more)
    const { sim, send } = parts
    const start = sim.clock.now()
    sim.script.on('Produce', 2, { do: 'freeze', ms: 5_000 })
    const sent = [1, 2, 3, 4].map(send)
    await sim.advance(3_100)
    expect(sent[0]?.value).toMatchObject({ offset: 1 })
    for (const outcome of sent) expect((outcome.settledAt ?? Infinity) - start).toBeLessThanOrEqual(3_000)
    expect(sent[1]?.error).toMatchObject({ code: 'DELIVERY_TIMEOUT', outcome: 'unknown' })
    await sim.advance(5_000)
    const before = sim.requests.length
    const next = send(5)
    await sim.advance(2_000)
    expect(next.value).toBeDefined()
    expect(sim.requests.length - before).toBeLessThan(10)
    const log = await names(parts)
    expect(log).toEqual([...new Set(log)])
    expect(log).toEqual(log.toSorted((a, b) => (a === 'warm' ? -1 : Number(a) - Number(b))))
    expect(await nothingLeft(parts)).toEqual([0, 0])
  })

  it('C02: is resolved by what succeeds behind it, without a loop', async () => {
    const parts = await warm()
    const { sim, send, requests } = parts
    const before = requests()
    sim.script.on('Produce', 1, { do: 'errorAfter', code: REQUEST_TIMED_OUT })
    const sent = [1, 2, 3, 4, 5, 6].map(send)
    await sim.advance(2_000)
    expect(sent.map(({ error }) => error)).toEqual(sent.map(() => undefined))
    expect(requests() - before).toBeLessThanOrEqual(8)
    expect(await names(parts)).toEqual(['warm', '1', '2', '3', '4', '5', '6'])
  })

  it('is found in the log when its answer was lost: confirmed, once', async () => {
    const parts = await warm()
    const { sim, send } = parts
    sim.script.on('Produce', 1, { do: 'dropAnswer' })
    sim.script.on('Produce', 2, { do: 'error', code: 46 })
    const sent = send(1)
    await sim.advance(60_000)
    expect(sent.value).toMatchObject({ offset: -1 })
    expect(await names(parts)).toEqual(['warm', '1'])
  })

  it('is not sent again when the log has a gap before it', async () => {
    const options = { ...ONE_BATCH, deliveryTimeoutMs: 3_000, ackTimeoutMs: 500 }
    const parts = await warm(options, { sim: { brokers: 1 }, cluster: { requestTimeoutMs: 1_000 } })
    const { sim, send } = parts
    const first = send(1)
    await sim.advance(10)
    // The leader loses what it has confirmed.
    sim.truncate('t', 0, 1)
    sim.script.on('Produce', 1, { do: 'drop' })
    const inDoubt = send(2)
    await sim.advance(10)
    const behind = send(3)
    await sim.advance(5_000)
    expect([first.error, inDoubt.error?.outcome, behind.error?.outcome]).toEqual([undefined, 'unknown', 'unknown'])
    const next = send(4)
    await sim.advance(5_000)
    expect(next.value).toMatchObject({ offset: 1 })
    expect(await names(parts)).toEqual(['warm', '4'])
  })
})

describe('gaps', () => {
  it('C06: numbers again from 0 with a new epoch when the broker has forgotten the producer', async () => {
    const parts = await warm(ONE_BATCH, { partitions: 2 })
    const { sim, producer, send } = parts
    const { producers, log } = sim.partition('t', 0)
    await sim.run(producer.send({ topic: 't', value: 'busy 0', partition: 1 }))
    producers.refusesUnknown = true
    producers.forget()
    await sim.advance(5_000)
    const sent = [1, 2, 3].map((name) => watch(sim, producer.send({ ...large(name), partition: 0 })))
    const busy = watch(sim, producer.send({ topic: 't', value: 'busy 1', partition: 1 }))
    await sim.advance(1_000)
    expect([...sent, busy].map(({ error }) => error)).toEqual([undefined, undefined, undefined, undefined])
    expect(await names(parts)).toEqual(['warm', '1', '2', '3'])
    expect(await valuesOf(sim, 1)).toEqual(['busy 0', 'busy 1'])
    expect(log.batches.map(({ producerEpoch, baseSequence }) => [producerEpoch, baseSequence])).toEqual([
      [0, 0],
      [1, 0],
      [1, 1],
      [1, 2],
    ])
    void send
  })

  it('C03: halves a batch that is too large until it fits; one record that is too large fails alone', async () => {
    const parts = setUp({ batchBytes: 8 * 1024 * 1024 })
    const { sim, producer } = parts
    sim.topic('t').maxMessageBytes = 1_048_588
    await sim.run(producer.send({ topic: 't', value: 'warm' }))
    const value = (index: number) => `${index}:`.padEnd(index === 100 ? 1_500_000 : 40_960, '.')
    const records = Array.from({ length: 200 }, (_, index) => ({ value: value(index) }))
    const outcome = watch(sim, producer.sendMany('t', records))
    const behind = watch(sim, producer.send({ topic: 't', value: 'behind' }))
    await sim.advance(20_000)
    const error = outcome.error as SendManyError
    expect(error.failures).toMatchObject([{ index: 100, error: { code: 'MESSAGE_TOO_LARGE', outcome: 'rejected' } }])
    expect(error.sent.reduce((sum, { count }) => sum + count, 0)).toBe(199)
    expect(behind.error).toBeUndefined()
    const expected = Array.from({ length: 200 }, (_, index) => String(index)).filter((name) => name !== '100')
    expect(await names(parts)).toEqual(['warm', ...expected, 'behind'])
    await sim.run(producer.send({ topic: 't', value: 'goes on' }))
    expect(producer.bufferedBytes).toBe(0)
    expect(await nothingLeft(parts)).toEqual([0, 0])
  })

  it('halves compressed batches too', async () => {
    const parts = setUp({ compression: 'lz4' })
    const { sim, producer } = parts
    sim.topic('t').maxMessageBytes = 3_000
    const value = (index: number) => `${index}:${index * 7_919}:${Math.sin(index)}`
    await sim.run(
      producer.sendMany(
        't',
        Array.from({ length: 300 }, (_, index) => ({ value: value(index) })),
      ),
    )
    expect(await valuesOf(sim)).toEqual(Array.from({ length: 300 }, (_, index) => value(index)))
    expect(sim.log('t').batches.length).toBeGreaterThan(2)
    // Its limit is known now: nothing is refused any more.
    const count = () => sim.requests.filter(({ api }) => api === 'Produce').length
    const [requests, batches] = [count(), sim.log('t').batches.length]
    await sim.run(
      producer.sendMany(
        't',
        Array.from({ length: 300 }, (_, index) => ({ value: value(index) })),
      ),
    )
    expect(count() - requests).toBe(sim.log('t').batches.length - batches)
  })

  it.each([1, 2])('fails a batch of which half %i can not be made, and goes on', async (half) => {
    const parts = setUp()
    const { sim, producer } = parts
    sim.topic('t').maxMessageBytes = 3_000
    const send = (name: string) =>
      producer.sendMany(
        't',
        Array.from({ length: 5 }, (_, index) => ({ value: `${name}${index}:`.padEnd(1_000, '.') })),
      )
    await sim.run(producer.send({ topic: 't', value: 'warm' }))
    const real = Reflect.get(BlockMemory.prototype, 'takeExactly')
    const spy = vi.spyOn(BlockMemory.prototype, 'takeExactly')
    onTestFinished(() => spy.mockRestore())
    let calls = 0
    spy.mockImplementation(function (this: BlockMemory, size: number) {
      if (++calls === half) throw new RangeError('Array buffer allocation failed')
      return real.call(this, size)
    })
    const outcome = watch(sim, send('a'))
    await sim.advance(5_000)
    const { failures, sent } = outcome.error as SendManyError
    expect(failures).toHaveLength(5)
    expect(failures[0]?.error).toMatchObject({ code: 'UNEXPECTED', outcome: 'rejected' })
    expect(sent).toEqual([])
    await sim.run(send('b'))
    expect(await names(parts)).toEqual(['warm', 'b0', 'b1', 'b2', 'b3', 'b4'])
    expect(producer.bufferedBytes).toBe(0)
    expect(await nothingLeft(parts)).toEqual([0, 0])
  })

  it('does not leave one behind what fails alone', async () => {
    const parts = await warm()
    const { sim, send } = parts
    sim.script.on('Produce', 1, { do: 'error', code: 87 })
    const sent = [1, 2, 3].map(send)
    await sim.advance(1_000)
    expect(sent[0]?.error).toMatchObject({ code: 'INVALID_RECORD', outcome: 'rejected' })
    expect(await names(parts)).toEqual(['warm', '2', '3'])
  })

  it('bounds the requests while the broker refuses everything', async () => {
    const parts = await warm({ ...ONE_BATCH, deliveryTimeoutMs: 60_000 })
    const { sim, send, requests } = parts
    sim.script.on('Produce', 1, { do: 'error', code: OUT_OF_ORDER }, { times: 100_000 })
    const before = requests()
    const sent = [1, 2, 3, 4, 5, 6].map(send)
    await sim.advance(10_000)
    expect(requests() - before).toBeLessThan(10_000)
    expect(sent.every(({ settledAt }) => settledAt === undefined)).toBe(true)
    sim.script.clear()
    await sim.advance(10_000)
    expect(sent.map(({ error }) => error)).toEqual(sent.map(() => undefined))
  })
})

describe('topics', () => {
  it('C10: fails what was for a topic that is another one now, and writes to the new one', async () => {
    const parts = await warm({ ...ONE_BATCH, lingerMs: 500 })
    const { sim, producer, send, cluster } = parts
    sim.script.on('Produce', 1, { do: 'dropAnswer' })
    const inDoubt = [1, 2].map(send)
    await sim.run(Promise.race([producer.flush(), sim.clock.wait(50)]))
    const unsent = send(3)
    sim.recreateTopic('t')
    await sim.run(cluster.refresh())
    await sim.advance(60_000)
    expect(unsent.error).toMatchObject({ code: 'TOPIC_RECREATED', outcome: 'not-sent' })
    expect(inDoubt.map(({ error }) => error?.code)).toEqual(['TOPIC_RECREATED', 'TOPIC_RECREATED'])
    expect(inDoubt[0]?.error?.outcome).toBe('unknown')
    const next = send(4)
    await sim.advance(5_000)
    expect(next.value).toMatchObject({ offset: 0 })
    expect(await names(parts)).toEqual(['4'])
    expect(await nothingLeft(parts)).toEqual([0, 0])
  })
})

describe('brokers that can not be reached', () => {
  const times = [undefined, 4_000, 15_000]

  it.each(times)(
    'are the reason, with its cause, that a send gives at its deadline (%s ms)',
    async (deliveryTimeoutMs) => {
      const parts = setUp(deliveryTimeoutMs === undefined ? {} : { deliveryTimeoutMs }, { sim: { brokers: 1 } })
      const { sim, producer } = parts
      sim.kill(1)
      const start = sim.clock.now()
      const sent = [0, 1].map((index) => watch(sim, producer.send({ topic: 't', value: `${index}` })))
      await sim.advance(125_000)
      for (const { error, settledAt = Infinity } of sent) {
        expect(error).toMatchObject({ code: 'CLUSTER_UNREACHABLE', outcome: 'not-sent' })
        expect(error?.message).toContain('connect ECONNREFUSED')
        expect(error?.cause).toBeInstanceOf(KafkaError)
        expect(settledAt - start).toBeLessThanOrEqual((deliveryTimeoutMs ?? 120_000) + 100)
      }
      expect(await nothingLeft(parts)).toEqual([0, 0])
    },
  )

  it('are the reason when they accept nothing and refuse nothing', async () => {
    const parts = setUp({ deliveryTimeoutMs: 30_000 }, { sim: { brokers: 1 } })
    const { sim, producer } = parts
    const { host, port } = sim.broker(1)
    sim.network.blackHole(host, port)
    const sent = watch(sim, producer.send({ topic: 't', value: 'a' }))
    await sim.advance(35_000)
    expect(sent.error).toMatchObject({ code: 'CLUSTER_UNREACHABLE', outcome: 'not-sent' })
    expect(sent.error?.message).toContain('could not be connected to in time')
    expect(await nothingLeft(parts)).toEqual([0, 0])
  })

  it('are the reason for a batch that was not confirmed', async () => {
    const parts = await warm({ ...ONE_BATCH, deliveryTimeoutMs: 5_000 }, { sim: { brokers: 1 } })
    const { sim, send } = parts
    sim.kill(1)
    const sent = [1, 2].map(send)
    await sim.advance(10_000)
    for (const { error } of sent) {
      expect(error).toMatchObject({ code: 'DELIVERY_TIMEOUT' })
      expect(error?.message).toContain('the last error: ')
      expect(error?.cause).toMatchObject({ code: 'CONNECTION_CLOSED' })
    }
  })
})
