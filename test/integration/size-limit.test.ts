import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { createBus } from 'busbar'
import type { Transport } from 'busbar'
import { memory, memoryBroker } from 'busbar/memory'
import { sqlite } from 'busbar/sqlite'

const folder = mkdtempSync(join(tmpdir(), 'busbar-size-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const broker = memoryBroker()
const transports: Readonly<Record<string, (maxMessageBytes: number) => Transport>> = {
  memory: (maxMessageBytes) => memory({ broker, maxMessageBytes }),
  sqlite: (maxMessageBytes) => sqlite({ path: join(folder, 'bus.db'), maxMessageBytes }),
}

describe.each(Object.entries(transports))(
  'a consumer on %s whose limit is lower than that of the publisher',
  (_, make) => {
    it('can dead-letter and redrive what is larger, and still publishes nothing larger', async () => {
      const publishing = createBus({ service: 'large', transport: make(10_000) })
      const consuming = createBus({ service: 'small', transport: make(1_000) })
      await using _publishing = publishing
      await using _consuming = consuming
      await Promise.all([publishing.start(), consuming.start()])
      let works = false
      const handled = Promise.withResolvers<number>()
      await consuming.consume('t', (message, ctx) => {
        if (!works) ctx.reject('not yet')
        handled.resolve(message.body.byteLength)
      }).ready
      const died = consuming.events.once('deadLetter')
      await publishing.publish('t', new Uint8Array(10_000))
      expect((await died).message.body.byteLength).toBe(10_000)
      works = true
      expect(await consuming.deadLetters('t').redrive()).toEqual({ matched: 1, redriven: 1, failed: [] })
      expect(await handled.promise).toBe(10_000)
      await expect(consuming.publish('t', new Uint8Array(1_001))).rejects.toMatchObject({ outcome: 'not-sent' })
      await consuming.publish('t', new Uint8Array(1_000))
    })
  },
)
