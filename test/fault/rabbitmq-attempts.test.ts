import assert from 'node:assert/strict'
import { test } from 'vitest'
import { createBus } from 'busbar'
import { rabbitmq } from 'busbar/rabbitmq'
import { childProgram, uniqueName, waitUntil } from 'busbar/testing'
import type { Child } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import { NOTE, RETRY_MS } from './attempt-program.ts'
import type { AttemptArgument } from './attempt-program.ts'
import { pause } from './flow.ts'

const BACK = { timeoutMs: 30_000 } as const

test(
  'an attempt whose note a dying broker did not store is not made again elsewhere',
  { timeout: 120_000 },
  async () => {
    await using broker = await startPrivate('rabbitmq')
    await using bus = createBus({ service: 'publisher', transport: rabbitmq({ url: broker.url }) })
    const topic = uniqueName('attempts')
    const member = (diesAt?: number): Promise<Child> =>
      childProgram({
        module: new URL('./rabbitmq-child.ts', import.meta.url),
        program: new URL('./attempt-program.ts', import.meta.url),
        argument: { topic, group: 'workers', diesAt } satisfies AttemptArgument,
        env: { BUSBAR_TEST_RABBITMQ: broker.url },
      })
    await using first = await member(3)
    await bus.start()
    const { id } = await bus.publish(topic, 1, { key: 'k' })
    await first.waitFor('failed', 1, BACK)
    // A queue that is younger may not survive the broker.
    await pause(RETRY_MS / 2)
    // The broker dies with the note of attempt 2, which is sent and not read.
    await broker.pause()
    await first.waitFor('failed', 2, BACK)
    assert.deepEqual(first.ids('failed'), [id, id])
    await broker.kill()
    await waitUntil(() => first.ids('failed').includes(NOTE), BACK)
    await broker.restart()
    await first.exited
    const attempts = (child: Child): unknown[] =>
      child.records().flatMap(({ type, attempt }) => (type === 'start' ? [attempt] : []))
    assert.deepEqual(attempts(first), [1, 2, 3])
    await using second = await member()
    await second.waitFor('start', 1, BACK)
    const [again] = attempts(second) as [number]
    assert.ok(again >= 3, `it started with attempt ${again}`)
  },
)
