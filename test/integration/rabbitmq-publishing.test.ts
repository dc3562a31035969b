import assert from 'node:assert/strict'
import amqp from 'amqplib'
import { describe, test } from 'vitest'
import { PublishError } from 'busbar'
import type { Bus, BusOptions } from 'busbar'
import type { MessageProperties, RabbitMqOptions } from 'busbar/rabbitmq'
import { uniqueName, waitUntil } from 'busbar/testing'
import { freePort } from '../../tools/brokers/index.ts'
import { rabbitMqSuite } from './rabbitmq-harness.ts'

describe('RabbitMQ: messages that have to wait keep no others waiting', () => {
  const suite = rabbitMqSuite('publishing')
  const bus = (options: RabbitMqOptions = {}, more: Partial<BusOptions> = {}): Bus =>
    suite.bus({ partitions: 1, ...options }, more)

  /** A bus that consumes a topic of its own. */
  async function started(
    options: RabbitMqOptions = {},
    more: Partial<BusOptions> = {},
  ): Promise<{ on: Bus; topic: string; seen: unknown[] }> {
    const on = bus(options, more)
    const topic = uniqueName('waits')
    const seen: unknown[] = []
    on.consume(topic, ({ data }) => void seen.push(data))
    await on.start()
    return { on, topic, seen }
  }

  /** Until the returned function is called, the leader of a quorum queue answers nothing, as if there were none. */
  async function silence(queue: string): Promise<() => Promise<string>> {
    const call = (what: string): Promise<string> =>
      suite.broker.ctl(
        'eval',
        `{ok, Queue} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"${queue}">>)), {Name, _} = amqqueue:get_pid(Queue), sys:${what}(Name).`,
      )
    await call('suspend')
    return () => call('resume')
  }

  async function refusal(publishing: Promise<unknown>): Promise<PublishError> {
    const error = await publishing.then(
      () => undefined,
      (reason: unknown) => reason,
    )
    assert.ok(PublishError.is(error), `it must be refused: ${String(error)}`)
    return error
  }

  test(
    'a delay that can not be prepared is refused in time, and prepared for the next message',
    { timeout: 40_000 },
    async () => {
      let isBlackHole = false
      const { on, topic, seen } = await started({
        delay: 'auto',
        connect: () =>
          isBlackHole ? new Promise<never>(() => undefined) : amqp.connect(suite.broker.url, { noDelay: true }),
      })
      // The look for the plugin, on a connection of its own, ends nowhere.
      isBlackHole = true
      // Far away: what is due before its lane has a channel needs no preparation.
      const later = refusal(on.publish(topic, 'later', { delayMs: 60_000 }))
      await Promise.all([on.publish(topic, 'beside'), on.publish(topic, 'beside')])
      await on.publish(topic, 'behind')
      const { outcome, message } = await later
      assert.equal(outcome, 'not-sent')
      assert.match(message, /did not answer the declarations/)
      isBlackHole = false
      await on.publish(topic, 'delayed', { delayMs: 50 })
      await waitUntil(() => seen.length === 4)
      assert.deepEqual(seen, ['beside', 'beside', 'behind', 'delayed'])
    },
  )

  test("delay: 'auto' looks for the plugin where the connection is, not at an address that is down", async () => {
    const dead = await freePort()
    const { on, topic, seen } = await started({ delay: 'auto', url: [`amqp://127.0.0.1:${dead}`, suite.broker.url] })
    await on.publish(topic, 'delayed', { delayMs: 500 })
    await waitUntil(() => seen.length === 1)
  })

  test('a rung of the ladder without a leader holds up delayed messages alone', { timeout: 60_000 }, async () => {
    const exchange = uniqueName('rung')
    const before = await started({ exchange })
    await before.on.publish(before.topic, 'made', { delayMs: 10_000 })
    const { on, topic, seen } = await started({ exchange })
    // Of 16 ms times 2 to the 9th.
    const resume = await silence(`${exchange}.delay.9`)
    let isDone = false
    const later = on.publish(topic, 'later', { delayMs: 10_000 }).finally(() => (isDone = true))
    for (let number = 0; number < 20; number++) await on.publish(topic, number, { key: 'k' })
    assert.equal(isDone, false)
    await waitUntil(() => seen.length === 20)
    await resume()
    await later
  })

  test(
    'a channel that a queue without a leader blocks is replaced, with an error event that says so',
    { timeout: 90_000 },
    async () => {
      const sick = await started()
      const well = await started()
      // The first message of a channel for a queue registers it there, and waits for that.
      const { on } = await started()
      const errors: unknown[] = []
      on.events.on('error', ({ error }) => errors.push(error))
      const resume = await silence(`busbar:${sick.topic}:publishing`)
      const lost = [refusal(on.publish(sick.topic, 1))]
      await new Promise((resolve) => setImmediate(resolve))
      lost.push(refusal(on.publish(well.topic, 1)))
      for (const { outcome, message } of await Promise.all(lost)) {
        assert.equal(outcome, 'unknown')
        assert.match(message, /answered nothing/)
      }
      await on.publish(well.topic, 2)
      assert.match(String(errors[0]), /has no leader/)
      await resume()
      await waitUntil(() => well.seen.includes(2))
    },
  )

  test('properties that the broker refuses are refused before, alone, and by name', { timeout: 40_000 }, async () => {
    const bad: readonly MessageProperties[] = [
      { expiration: 1.5 },
      { expiration: -1 },
      { expiration: 2 ** 32 },
      { priority: 256 },
      { priority: -1 },
      { replyTo: 'x'.repeat(256) },
      { type: 7 as unknown as string },
    ]
    const { on, topic, seen } = await started({
      properties: ({ headers }) => (headers['bad'] === undefined ? undefined : bad[Number(headers['bad'])]),
    })
    const good = bad.map((_, index) => on.publish(topic, `good ${index}`))
    const refused = bad.map((_, index) => refusal(on.publish(topic, index, { headers: { bad: String(index) } })))
    for (const [index, { message }] of (await Promise.all(refused)).entries()) {
      const [name] = Object.keys(bad[index] as object)
      assert.match(message, new RegExp(`properties\\(\\) .*${name}`))
    }
    await Promise.all(good)
    await waitUntil(() => seen.length === bad.length, { timeoutMs: 10_000 })
  })

  test('a copy for a group that is gone does not end what is declared beside it', { timeout: 40_000 }, async () => {
    const { on, topic, seen } = await started()
    const gone = uniqueName('gone')
    const consumer = on.consume(gone, (_, ctx) => ctx.reject('no'), { native: { partitions: 1 } })
    await consumer.ready
    for (let number = 0; number < 4; number++) await on.publish(gone, number)
    const letters = on.deadLetters(gone)
    await waitUntil(async () => (await letters.list()).length === 4, { timeoutMs: 10_000 })
    await consumer.close()
    await on.admin().deleteGroup(gone, 'publishing')
    // The first message with a delay: its queues have yet to be declared.
    const delayed = on.publish(topic, 'delayed', { delayMs: 3_000 })
    const redriven = letters.redrive()
    await delayed
    assert.equal((await redriven).failed.length, 4)
    await waitUntil(() => seen.includes('delayed'), { timeoutMs: 10_000 })
  })
})
