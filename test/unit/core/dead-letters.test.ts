import { afterEach, describe, expect, it } from 'vitest'
import { createBus } from 'busbar'
import type { Bus } from 'busbar'
import { memory } from 'busbar/memory'
import type { MemoryTransport } from 'busbar/memory'

const open: Bus[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((bus) => bus.close({ timeoutMs: 100 })))
})

async function start(): Promise<{ bus: Bus; transport: MemoryTransport }> {
  const transport = memory()
  const bus = createBus({ logger: false, service: 'test', transport })
  open.push(bus)
  await bus.start()
  return { bus, transport }
}

describe('a redrive', () => {
  it('does not send the dead letters of a broadcast consumer to a group that nobody is in', async () => {
    const { bus, transport } = await start()
    await bus.consume('t', (_message, ctx) => ctx.reject('no'), { broadcast: true }).ready
    await bus.publish('t', 1)
    await transport.waitForMessages('t.test-broadcast.dlq', 1)
    const letters = bus.deadLetters('t', 'test-broadcast')
    await expect(letters.redrive()).rejects.toMatchObject({ code: 'BUSBAR_UNSUPPORTED' })
    expect(await letters.list()).toHaveLength(1)
    expect(await letters.redrive({ dryRun: true })).toMatchObject({ matched: 1 })
    expect(await letters.purge()).toBe(1)
  })

  it('reaches a group whose name only looks like that', async () => {
    const { bus, transport } = await start()
    let fails = true
    const handled = Promise.withResolvers<void>()
    const handler = (_message: unknown, ctx: { reject(reason: string): never }): void => {
      if (fails) ctx.reject('no')
      handled.resolve()
    }
    await bus.consume('t', handler, { group: 'live-broadcast' }).ready
    await bus.publish('t', 1)
    await transport.waitForMessages('t.live-broadcast.dlq', 1)
    fails = false
    expect(await bus.deadLetters('t', 'live-broadcast').redrive()).toMatchObject({ redriven: 1 })
    await handled.promise
  })
})
