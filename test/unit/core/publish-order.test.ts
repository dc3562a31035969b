import { describe, expect, it } from 'vitest'
import { createBus, defineEvent, silentLogger } from 'busbar'
import type { Bus, BusEventMap, PublishError, StandardSchema } from 'busbar'
import type { PublishOutcome } from 'busbar/transport'
import { manualClock } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import { notSent, StubTransport } from './stub-transport.ts'

/** An asynchronous schema whose answers the test gives, by the data that they are for. */
function slowSchema(): StandardSchema<number, number> & {
  readonly open: Map<number, (accept: boolean) => void>
  mostOpen: number
} {
  const open = new Map<number, (accept: boolean) => void>()
  const schema = {
    open,
    mostOpen: 0,
    '~standard': {
      version: 1 as const,
      vendor: 'test',
      validate: (data: unknown) =>
        new Promise<{ value: number } | { issues: { message: string }[] }>((resolve) => {
          open.set(data as number, (accept) => {
            open.delete(data as number)
            resolve(accept ? { value: data as number } : { issues: [{ message: 'no' }] })
          })
          schema.mostOpen = Math.max(schema.mostOpen, open.size)
        }),
    },
  }
  return schema
}

async function started(options: object = {}): Promise<{ bus: Bus; transport: StubTransport; clock: ManualClock }> {
  const transport = new StubTransport()
  const clock = manualClock()
  const bus = createBus({ service: 'test', transport, clock, logger: silentLogger, checkWire: 'off', ...options })
  await bus.start()
  return { bus, transport, clock }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function sent(transport: StubTransport): string[] {
  return transport.published.flat().map(({ topic, body }) => `${topic} ${Buffer.from(body ?? []).toString()}`)
}

describe('publishes with an asynchronous schema', () => {
  it('keep the order of the calls within their topic, whichever schema answers first', async () => {
    const { bus, transport } = await started()
    const schema = slowSchema()
    const Counted = defineEvent('counted', schema)
    const published = [bus.publish(Counted, 1), bus.publish(Counted, 2), bus.publish('counted', 3)]
    published.push(bus.publish('other', 4))
    const many = bus.publishMany('counted', [{ data: 5 }, { data: 6 }])
    await turn()
    expect(sent(transport)).toEqual(['other 4'])
    schema.open.get(2)?.(true)
    await turn()
    expect(sent(transport)).toEqual(['other 4'])
    schema.open.get(1)?.(true)
    await Promise.all([...published, many])
    expect(sent(transport)).toEqual(['other 4', ...[1, 2, 3, 5, 6].map((n) => `counted ${n}`)])
    await bus.publish('counted', 7)
    expect(sent(transport).at(-1)).toBe('counted 7')
    await bus.close()
  })

  it('make room when one of them is refused, aborted, or never answered for', async () => {
    const { bus, transport, clock } = await started({ publish: { deliveryTimeoutMs: 1_000 } })
    const schema = slowSchema()
    const Counted = defineEvent('counted', schema)
    const abort = new AbortController()
    const refused = bus.publish(Counted, 1)
    const aborted = bus.publish(Counted, 2, { signal: abort.signal })
    await clock.advance(500)
    const hanging = bus.publish(Counted, 3)
    const given = expect(hanging).rejects.toMatchObject({
      outcome: 'not-sent',
      message: expect.stringContaining('waited 1000 ms for a schema') as string,
    })
    await clock.advance(100)
    const last = bus.publish('counted', 5)
    schema.open.get(1)?.(false)
    await expect(refused).rejects.toMatchObject({ code: 'BUSBAR_VALIDATION' })
    abort.abort(new Error('enough'))
    await expect(aborted).rejects.toMatchObject({ outcome: 'not-sent', message: /aborted/ })
    expect(sent(transport)).toEqual([])
    await clock.advance(950)
    await given
    await last
    expect(sent(transport)).toEqual(['counted 5'])
    await bus.close()
  })

  it('fail as not sent when the bus closes first, and are waited for until then', async () => {
    const { bus, transport } = await started()
    const schema = slowSchema()
    const first = bus.publish(defineEvent('counted', schema), 1)
    const closing = bus.close({ timeoutMs: 60_000 })
    await turn()
    expect(bus.state).toBe('draining')
    schema.open.get(1)?.(true)
    await closing
    await first
    expect(sent(transport)).toEqual(['counted 1'])

    const second = await started()
    const lost = expect(second.bus.publish(defineEvent('counted', slowSchema()), 1)).rejects.toMatchObject({
      outcome: 'not-sent',
      message: /closed/,
    })
    await second.bus.close({ timeoutMs: 0 })
    await lost
  })

  it('of one publishMany are validated side by side, at most 32 at once, and keep their places', async () => {
    const { bus, transport } = await started()
    const schema = slowSchema()
    const result = bus.publishMany(
      defineEvent('counted', schema),
      Array.from({ length: 100 }, (_, n) => ({ data: n })),
      { allowFailures: true },
    )
    await turn()
    expect(schema.open.size).toBe(32)
    while (schema.open.size > 0) {
      for (const [n, answer] of [...schema.open].reverse()) answer(n !== 50)
      await turn()
    }
    const results = await result
    expect(schema.mostOpen).toBe(32)
    expect(results.map(({ error }) => error?.name).filter((name) => name !== undefined)).toEqual(['ValidationError'])
    expect(results[50]?.error).toBeDefined()
    expect(sent(transport)).toEqual(Array.from({ length: 100 }, (_, n) => `counted ${n}`).filter((_, n) => n !== 50))
    await bus.close()
  })

  it('end by their own deadline when they travel behind a later call', async () => {
    const { bus, transport, clock } = await started({ publish: { deliveryTimeoutMs: 1_000 } })
    transport.answer = () => new Promise(() => {})
    const schema = slowSchema()
    const ended: string[] = []
    const note = (name: string) => (): number => ended.push(name)
    bus.publish(defineEvent('slow', schema), 1).catch(note('slow'))
    await clock.advance(800)
    bus.publish('other', 2).catch(note('other'))
    schema.open.get(1)?.(true)
    await turn()
    expect(sent(transport)).toEqual(['other 2', 'slow 1'])
    await clock.advance(250)
    await turn()
    expect(ended).toEqual(['slow'])
    await clock.advance(800)
    await turn()
    expect(ended).toEqual(['slow', 'other'])
    await bus.close({ timeoutMs: 0 })
  })

  it('end by their own deadline when they wait for room behind a later call', async () => {
    const { bus, transport, clock } = await started({ publish: { deliveryTimeoutMs: 1_000, maxBufferedBytes: 1_024 } })
    const room = Promise.withResolvers<void>()
    transport.answer = async (batch) => {
      await room.promise
      return batch.map(() => ({ position: undefined }))
    }
    const schema = slowSchema()
    const ended: string[] = []
    const note =
      (name: string) =>
      (error: PublishError): number =>
        ended.push(`${name} ${error.outcome}`)
    bus.publish(defineEvent('slow', schema), 1).catch(note('slow'))
    await clock.advance(500)
    bus.publish('first', 2).catch(note('first'))
    await turn()
    await clock.advance(300)
    bus.publish('other', 3).catch(note('other'))
    schema.open.get(1)?.(true)
    await turn()
    expect(sent(transport)).toEqual(['first 2'])
    await clock.advance(250)
    await turn()
    expect(ended).toEqual(['slow not-sent'])
    await clock.advance(500)
    await turn()
    expect(ended).toEqual(['slow not-sent', 'first unknown'])
    await clock.advance(300)
    await turn()
    expect(ended).toEqual(['slow not-sent', 'first unknown', 'other not-sent'])
    room.resolve()
    await bus.close()
    expect(sent(transport)).toEqual(['first 2'])
  })
})

describe('options of a publish', () => {
  it('that do not exist are refused, with a guess, in publish, publishMany and its items', async () => {
    const { bus, transport } = await started()
    await expect(bus.publish('t', 1, { delay: 5, priority: 1 } as object)).rejects.toMatchObject({
      code: 'BUSBAR_CONFIGURATION',
      problems: [
        { path: 'delay', message: 'is not a known option; did you mean "delayMs"?' },
        { path: 'priority', message: expect.stringContaining('there are: key, headers') as string },
      ],
    })
    await expect(bus.publish('t', 1, 'soon' as unknown as object)).rejects.toThrow('options: must be an object')
    await expect(bus.publishMany('t', [], { key: 'k' } as object)).rejects.toThrow('key: is not a known option')
    const [first, second] = await bus.publishMany('t', [{ data: 1, delay: 5 } as { data: number }, { data: 2 }], {
      allowFailures: true,
    })
    expect(first?.error?.message).toContain('did you mean "delayMs"')
    expect(second?.error).toBeUndefined()
    expect(sent(transport)).toEqual(['t 2'])
    await bus.close()
  })

  it('can fill every attribute of CloudEvents', async () => {
    const { bus, transport } = await started()
    const Placed = defineEvent('placed', { dataSchema: 'https://example.com/placed.json' })
    const occurredAt = new Date('2026-01-02T03:04:05.678Z')
    await bus.publish(Placed, 1, {
      occurredAt,
      source: '//tills/7',
      extensions: { tenant: 'acme', region: 'eu' },
      headers: { trace: 'yes', 'ce-passedon': 'too' },
    })
    await bus.publish(Placed, 2, { dataSchema: 'https://example.com/other.json' })
    const [first, second] = transport.published.flat()
    expect(first).toMatchObject({
      time: occurredAt.getTime(),
      source: '//tills/7',
      dataSchema: 'https://example.com/placed.json',
      headers: { trace: 'yes', 'ce-tenant': 'acme', 'ce-region': 'eu', 'ce-passedon': 'too' },
    })
    expect(second).toMatchObject({ dataSchema: 'https://example.com/other.json', source: 'test' })
    await bus.close()
  })

  it.each([
    [{ extensions: { Tenant: 'a' } }, 'extensions."Tenant": must be 1 to 20 lower-case letters and digits'],
    [{ extensions: { ['x'.repeat(21)]: 'a' } }, 'must be 1 to 20'],
    [{ extensions: { id: 'a' } }, 'is an attribute of the envelope'],
    [{ extensions: { tenant: 1 as unknown as string } }, 'must be a string, got number'],
    [{ headers: { 'ce-id': 'a' } }, 'is reserved'],
    [{ occurredAt: new Date(Number.NaN) }, 'occurredAt must be a valid Date'],
    [{ delayMs: 200, ttlMs: 100 }, 'ttlMs (100) ends 100 ms before the message may be delivered'],
    [{ deliverAt: new Date(Date.UTC(2100, 0)), ttlMs: 100 }, 'would be dead-lettered unhandled'],
  ])('%j are refused', async (options, text) => {
    const { bus, transport } = await started()
    await expect(bus.publish('t', 1, options)).rejects.toMatchObject({
      code: 'BUSBAR_VALIDATION',
      message: expect.stringContaining(text) as string,
    })
    expect(transport.published).toEqual([])
    await bus.close()
  })
})

describe('the event published', () => {
  it('counts what was confirmed, by topic, and nothing else', async () => {
    const { bus, transport } = await started()
    transport.answer = async (batch) =>
      batch.map(({ body }): PublishOutcome =>
        Number(Buffer.from(body ?? []).toString()) % 2 === 1 ? { error: notSent() } : { position: undefined },
      )
    const seen: BusEventMap['published'][] = []
    bus.events.on('published', (event) => seen.push(event))
    await Promise.all([
      bus.publishMany('a', [{ data: 0 }, { data: 1 }, { data: 2 }], { allowFailures: true }),
      bus.publishMany('b', [{ data: 4 }]),
      bus.publish('c', 1).catch(() => {}),
    ])
    await turn()
    expect(seen.map(({ topic, count, failed }) => ({ topic, count, failed }))).toEqual([
      { topic: 'a', count: 2, failed: 1 },
      { topic: 'b', count: 1, failed: 0 },
    ])
    expect(seen.every(({ bytes, transport: name }) => bytes > 0 && name === 'main')).toBe(true)
    seen.length = 0
    transport.answer = async () => {
      throw new Error('broken')
    }
    await bus.publish('a', 0).catch(() => {})
    await turn()
    expect(seen).toEqual([])
    await bus.close()
  })
})
