import assert from 'node:assert/strict'
import { beforeAll, describe, test } from 'vitest'
import { AuthorizationError, ConfigurationError } from 'busbar'
import type { Bus } from 'busbar'
import { uniqueName, waitUntil } from 'busbar/testing'
import { rabbitMqSuite } from './rabbitmq-harness.ts'

describe('RabbitMQ: permissions, deletions, and queues that exist in another form', () => {
  const suite = rabbitMqSuite('operators')
  const { bus, names } = suite
  beforeAll(() => suite.broker.ctl('add_user', 'limited', 'pw'))

  const allow = (configure: string, write: string, read: string): Promise<string> =>
    suite.broker.ctl('set_permissions', 'limited', configure, write, read)
  const limited = (): string => `amqp://limited:pw@127.0.0.1:${suite.broker.port}`

  test('permissions for names that begin with the exchange are all that a bus needs', { timeout: 30_000 }, async () => {
    const exchange = uniqueName('own')
    await allow(`^${exchange}.*`, `^${exchange}.*`, `^${exchange}.*`)
    const topic = uniqueName('t')
    const members = [0, 1].map(() => bus({ url: limited(), exchange }))
    const errors: unknown[] = []
    const seen: number[] = []
    for (const member of members) {
      member.events.on('error', ({ error }) => errors.push(error))
      member.consume(
        topic,
        async ({ data }, ctx) => {
          await new Promise((resolve) => setTimeout(resolve, 40))
          if (ctx.attempt === 1) ctx.retry({ delayMs: 20 })
          seen.push(data as number)
        },
        { retry: { attempts: 3 } },
      )
      await member.start()
    }
    for (let number = 0; number < 8; number++)
      await (members[0] as Bus).publish(topic, number, { key: `k${number}`, delayMs: number === 7 ? 20 : 0 })
    await waitUntil(() => seen.length === 8, { timeoutMs: 15_000, describe: () => `${seen.length} of 8` })
    assert.deepEqual(errors, [])
  })

  test('declare: false publishes and consumes with no right to declare anything', { timeout: 30_000 }, async () => {
    const exchange = uniqueName('made')
    const topic = uniqueName('t')
    const maker = bus({ exchange, groups: [{ topic, group: 'g' }] })
    await maker.start()
    await maker.close()
    await allow('^$', `^${exchange}.*`, `^${exchange}.*`)
    const refused = bus({ url: limited(), exchange })
    await assert.rejects(
      refused.start(),
      (error) => AuthorizationError.is(error) && error.message.includes(`exchange '${exchange}`),
    )
    const on = bus({ url: limited(), exchange, declare: false })
    const seen: unknown[] = []
    on.consume(topic, ({ data }) => void seen.push(data), { group: 'g' })
    await on.start()
    for (let number = 0; number < 8; number++) await on.publish(topic, number, { key: `k${number}` })
    await waitUntil(() => seen.length === 8, { timeoutMs: 10_000 })
    const missing = bus({ url: limited(), exchange, declare: false })
    missing.consume(topic, () => {}, { group: 'nobody-made-it' })
    await assert.rejects(
      missing.start(),
      (error) => ConfigurationError.is(error) && /nobody-made-it" does not exist/.test(error.message),
    )
  })

  test(
    'queues that were declared with another type are used as they are, all of them',
    { timeout: 30_000 },
    async () => {
      const exchange = uniqueName('types')
      const topic = uniqueName('t')
      const before = bus({ exchange, queueType: 'classic' })
      before.consume(topic, () => {}, { order: 'none' })
      await before.start()
      await before.publish(topic, 0, { delayMs: 10 })
      await before.close()
      const on = bus({ exchange })
      const drifts: string[] = []
      on.events.on('warning', ({ code, detail }) => code === 'topology-drift' && drifts.push(detail))
      const seen: unknown[] = []
      on.consume(topic, ({ data }) => void seen.push(data), { order: 'none' })
      await on.start()
      await on.publish(topic, 1, { delayMs: 10 })
      await waitUntil(() => seen.includes(1), { timeoutMs: 10_000 })
      assert.equal(new Set(drifts).size, drifts.length, drifts.join('\n'))
      assert.match(drifts.join('\n'), /dead-letters" exists with another x-queue-type/)
    },
  )

  test('deleteGroup leaves nothing of the group on the broker but its dead letters', { timeout: 30_000 }, async () => {
    const topic = uniqueName('gone')
    const on = bus()
    let handled = 0
    on.consume(topic, async () => {
      await new Promise((resolve) => setTimeout(resolve, 60))
      handled++
    })
    await on.start()
    await on.publish(topic, 1, { key: 'k' })
    await waitUntil(() => handled === 1, { timeoutMs: 5_000 })
    await on.close()
    const janitor = bus()
    await janitor.start()
    await janitor.admin().deleteGroup(topic, 'operators')
    for (const what of ['list_queues', 'list_exchanges'] as const)
      assert.deepEqual(
        (await names(what)).filter((name) => name.includes(topic) && !name.endsWith('.dlq')),
        [],
      )
  })

  test(
    'a queue that is deleted under its consumer is made again, and reported as a loss',
    { timeout: 30_000 },
    async () => {
      const topic = uniqueName('deleted')
      const on = bus()
      const losses: string[] = []
      on.events.on('loss', ({ reason, group, count }) => losses.push(`${group} ${count} ${reason}`))
      const seen: unknown[] = []
      on.consume(topic, ({ data }) => void seen.push(data), { order: 'none' })
      await on.start()
      await suite.channel.deleteQueue(`busbar:${topic}:operators`)
      await waitUntil(() => losses.length > 0, { timeoutMs: 10_000 })
      assert.match(losses[0] ?? '', new RegExp(`^operators undefined "busbar:${topic}:operators" was deleted`))
      await waitUntil(
        () =>
          on.publish(topic, 1).then(
            () => true,
            () => undefined,
          ),
        { timeoutMs: 10_000 },
      )
      await waitUntil(() => seen.length === 1, { timeoutMs: 5_000 })
    },
  )

  for (const unroutable of ['reject', 'drop'] as const)
    test(
      `a dead-letter queue that is deleted is reported with the next dead letter (unroutable: ${unroutable})`,
      { timeout: 30_000 },
      async () => {
        const topic = uniqueName('letters')
        const on = bus({ unroutable })
        const losses: string[] = []
        on.events.on('loss', ({ topic: of, reason }) => losses.push(`${of}: ${reason}`))
        on.consume(topic, (_, ctx) => ctx.reject('no'))
        await on.start()
        const listed = async (id: string): Promise<boolean> => (await on.deadLetters(topic).get(id)) !== undefined
        const queue = `busbar:${topic}.operators.dlq`
        const [first, second, third] = ['first', 'second', 'third']
        await on.publish(topic, 1, { id: first })
        await waitUntil(() => listed(first), { timeoutMs: 5_000 })
        // Without its binding it has lost nothing.
        await suite.channel.unbindQueue(queue, 'busbar.system', `${topic}.operators.dlq`)
        await suite.channel.unbindQueue(queue, 'busbar.system', `${topic}.operators.dlq.*.*`)
        await on.publish(topic, 2, { id: second })
        await waitUntil(() => listed(second), { timeoutMs: 5_000 })
        assert.deepEqual(losses, [])
        await suite.channel.deleteQueue(queue)
        await on.publish(topic, 3, { id: third })
        await waitUntil(() => listed(third), { timeoutMs: 5_000 })
        assert.equal(losses.length, 1)
        assert.match(losses[0] ?? '', new RegExp(`^${topic}.operators.dlq: "${queue}" was deleted`))
      },
    )

  test(
    'each queue of a group that is deleted under its members is reported, by one of them',
    { timeout: 60_000 },
    async () => {
      const topic = uniqueName('spree')
      const queues = ['', ':1', ':2', ':3'].map((partition) => `busbar:${topic}:operators${partition}`)
      const reported: string[] = []
      const shares = new Map<string, number>()
      let state = ''
      for (const member of [0, 1, 2].map(() => bus())) {
        member.events.on('loss', ({ reason }) =>
          reported.push(...Array.from(reason.matchAll(/"([^"]*)"/g), ([, queue]) => queue as string)),
        )
        member.events.on('rebalance', ({ consumerId, assigned, revoked }) =>
          shares.set(consumerId, (shares.get(consumerId) ?? 0) + assigned.length - revoked.length),
        )
        member.consume(topic, () => {})
        await member.start()
      }
      const consumed = async (): Promise<boolean> => {
        const apart = await suite.connection.createChannel()
        apart.on('error', () => {})
        state = ''
        try {
          for (const queue of queues) state += ` ${(await apart.checkQueue(queue)).consumerCount}`
          await apart.close()
        } catch (error) {
          state += ` ${String(error)}`
        }
        return state === ' 1 1 1 1'
      }
      // While a queue moves, both its old and its new reader may find it missing.
      await waitUntil(() => [...shares.values()].sort((a, b) => a - b).join() === '1,1,2', { timeoutMs: 15_000 })
      for (let round = 1; round <= 6; round++) {
        await waitUntil(consumed, { timeoutMs: 15_000, describe: () => `round ${round}: ${state}` })
        for (const queue of queues) await suite.channel.deleteQueue(queue)
        await waitUntil(() => queues.every((queue) => reported.filter((each) => each === queue).length >= round), {
          timeoutMs: 5_000,
          describe: () => `round ${round}: only ${reported.join()} reported`,
        })
        await waitUntil(consumed, { timeoutMs: 15_000, describe: () => `round ${round}: ${state}` })
        assert.equal(reported.length, 4 * round, reported.join())
      }
    },
  )

  test('the queue of a broadcast goes with its consumer', { timeout: 30_000 }, async () => {
    const topic = uniqueName('t')
    const on = bus()
    const consumer = on.consume(topic, () => {}, { broadcast: true })
    // The connection stays.
    on.consume(uniqueName('t'), () => {})
    await on.start()
    const queues = async (): Promise<string[]> =>
      (await names('list_queues')).filter((name) => name.includes(topic) && !name.includes('.dlq'))
    assert.equal((await queues()).length, 1)
    await consumer.close()
    assert.deepEqual(await queues(), [])
  })

  test('a member without a partition says that it stands by, and is not unwell', { timeout: 30_000 }, async () => {
    const topic = uniqueName('standby')
    const members = [0, 1, 2].map(() => bus({ partitions: 2 }))
    const handles = []
    let handled = 0
    for (const member of members) {
      handles.push(
        member.consume(
          topic,
          async () => {
            await new Promise((resolve) => setTimeout(resolve, 100))
            handled++
          },
          { concurrency: 1, prefetch: 2, stalledAfterMs: 1_000 },
        ),
      )
      await member.start()
    }
    const stalled: unknown[] = []
    for (const member of members) member.events.on('stalled', (event) => stalled.push(event))
    for (let number = 0; number < 60; number++) await (members[0] as Bus).publish(topic, number, { key: `k${number}` })
    await waitUntil(() => handled === 60, { timeoutMs: 20_000, describe: () => `${handled} of 60` })
    assert.deepEqual(stalled, [])
    for (const member of members) assert.equal((await member.health()).status, 'ok')
  })
})
