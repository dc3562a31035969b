import assert from 'node:assert/strict'
import { headers } from '@nats-io/transport-node'
import { test } from 'vitest'
import { waitUntil } from 'busbar/testing'
import { makeBus, plainClient, startServer } from './nats-harness.ts'

/** Requests of the seek after which the member is faster. */
const REQUESTS = ['DELETE', 'INFO'] as const

test.each(REQUESTS)('a seek leaves alone the consumer that a member has created after its %s', async (kind) => {
  const server = await startServer()
  const bus = makeBus({ url: server.url })
  const moved = Promise.withResolvers<undefined>()
  let handled = 0
  bus.consume(
    't',
    async () => {
      handled++
      if (handled > 1) await moved.promise
    },
    { group: 'g' },
  )
  await bus.start()
  await bus.publish('t', 1)
  const lag = async (): Promise<number | undefined> => (await bus.admin().groups('t'))[0]?.lag
  await waitUntil(async () => handled === 1 && (await lag()) === 0, { describe: 'the message to be settled' })

  const { api } = await plainClient(server)
  const { client } = await plainClient(server)
  const { consumers } = (await api('CONSUMER.NAMES.busbar')) as { consumers: string[] }
  const any = consumers.find((name) => name.endsWith('-any')) ?? ''
  const description = async (): Promise<unknown> =>
    ((await api(`CONSUMER.INFO.busbar.${any}`))['config'] as { description?: string } | undefined)?.description
  const request = client.request.bind(client)
  let created: unknown
  client.request = async (subject, ...rest) => {
    const isAwaited = created === undefined && subject.endsWith(`CONSUMER.${kind}.busbar.${any}`)
    // As if that look had come before the member.
    const answer = await request(isAwaited && kind === 'INFO' ? `${subject}-missing` : subject, ...rest)
    if (isAwaited) {
      await waitUntil(() => handled === 2, { describe: 'the member to be faster' })
      created = await description()
    }
    return answer
  }
  const seeker = makeBus({ client })
  await seeker.start()
  await seeker.admin().seek('t', 'g', 'earliest')
  assert.equal(await description(), created)
  moved.resolve(undefined)
  await waitUntil(async () => (await lag()) === 0, { describe: 'the message to be settled again' })
  assert.equal(handled, 2)
})

test('a seek leaves no partition without a record: a member may be about to claim it at the former position', async () => {
  const server = await startServer()
  const bus = makeBus({ url: server.url, partitions: 2 })
  await bus.start()
  await bus.publish('t', 1)
  await bus.admin().seek('t', 'g', 'latest')
  const { client, api } = await plainClient(server)
  const { state } = (await api('STREAM.INFO.busbar_state', { subjects_filter: 'busbar-state.at.>' })) as {
    state: { subjects?: Record<string, number> }
  }
  const subjects = Object.keys(state.subjects ?? {})
  assert.equal(subjects.length, 2)
  const first = headers()
  first.set('Nats-Expected-Last-Subject-Sequence', '0')
  const answer = await client.request(subjects[0] ?? '', '{}', { headers: first, timeout: 5_000 })
  assert.equal(answer.json<{ error?: { err_code: number } }>().error?.err_code, 10_071)
})
