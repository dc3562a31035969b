import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createBus } from 'busbar'
import type { Transport } from 'busbar'
import { memory, memoryBroker } from 'busbar/memory'
import { nats } from 'busbar/nats'
import { rabbitmq } from 'busbar/rabbitmq'
import { redis } from 'busbar/redis'
import { sqlite } from 'busbar/sqlite'
import { uniqueName } from 'busbar/testing'
import { borrow } from '../../tools/brokers/index.ts'
import type { Broker } from '../../tools/brokers/index.ts'

const folder = mkdtempSync(join(tmpdir(), 'busbar-size-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const broker = memoryBroker()
type Make = (url: string, maxMessageBytes: number) => Transport
const transports: readonly (readonly ['memory' | 'sqlite' | 'rabbitmq' | 'nats' | 'redis', Make])[] = [
  ['memory', (_, maxMessageBytes) => memory({ broker, maxMessageBytes })],
  ['sqlite', (_, maxMessageBytes) => sqlite({ path: join(folder, 'bus.db'), maxMessageBytes })],
  ['rabbitmq', (url, maxMessageBytes) => rabbitmq({ url, maxMessageBytes })],
  ['nats', (url, maxMessageBytes) => nats({ url, maxMessageBytes })],
  [
    'redis',
    (url, maxMessageBytes) => redis({ url, retention: { maxMessages: 100_000 }, maxMessageBytes, checkServer: false }),
  ],
]

describe.each(transports)('a consumer on %s whose limit is lower than that of the publisher', (name, make) => {
  let server: Broker | undefined
  beforeAll(async () => {
    if (name !== 'memory' && name !== 'sqlite') server = await borrow(name)
  })
  afterAll(async () => {
    await server?.stop()
  })

  it('can dead-letter and redrive what is larger, and still publishes nothing larger', async () => {
    const url = server?.url ?? ''
    const topic = uniqueName('large')
    const publishing = createBus({ service: 'large', transport: make(url, 20_000) })
    const consuming = createBus({ service: 'small', transport: make(url, 2_000) })
    await using _publishing = publishing
    await using _consuming = consuming
    await Promise.all([publishing.start(), consuming.start()])
    let works = false
    const handled = Promise.withResolvers<number>()
    await consuming.consume(topic, (message, ctx) => {
      if (!works) ctx.reject('not yet')
      handled.resolve(message.body?.byteLength ?? -1)
    }).ready
    const died = consuming.events.once('deadLetter')
    await publishing.publish(topic, new Uint8Array(20_000))
    expect((await died).message.body?.byteLength).toBe(20_000)
    works = true
    expect(await consuming.deadLetters(topic).redrive()).toEqual({ matched: 1, redriven: 1, failed: [] })
    expect(await handled.promise).toBe(20_000)
    await expect(consuming.publish(topic, new Uint8Array(2_001))).rejects.toMatchObject({ outcome: 'not-sent' })
    await consuming.publish(topic, new Uint8Array(2_000))
  })
})
