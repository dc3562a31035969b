import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, describe, expect, it } from 'vitest'
import { createBus, InterruptedError } from 'busbar'
import type { Bus, BusEventMap, DeadLetters, Transport } from 'busbar'
import { memory } from 'busbar/memory'
import type { MemoryTransport } from 'busbar/memory'
import { ConnectionError, PublishError } from '../../../src/core/errors.ts'
import type { PublishOutcome } from '../../../src/core/transport.ts'
import { LetterStore } from './letter-store.ts'
import { encoded } from './stub-transport.ts'

const open: Bus[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((bus) => bus.close({ timeoutMs: 100 })))
})

async function startOn<Of extends Transport>(transport: Of): Promise<{ bus: Bus; transport: Of }> {
  const bus = createBus({ logger: false, service: 'test', transport })
  open.push(bus)
  await bus.start()
  return { bus, transport }
}

const start = (): Promise<{ bus: Bus; transport: MemoryTransport }> => startOn(memory())

async function store(): Promise<{ letters: DeadLetters; store: LetterStore; events: BusEventMap['redrive'][] }> {
  const { bus, transport } = await startOn(new LetterStore())
  const events: BusEventMap['redrive'][] = []
  bus.events.on('redrive', (event) => events.push(event))
  return { letters: bus.deadLetters('t'), store: transport, events }
}

const idsOf = (messages: readonly { readonly id: string }[]): string[] => messages.map(({ id }) => id)

describe('a group that is not on the broker', () => {
  const act = {
    redrive: (letters: DeadLetters) => letters.redrive(),
    'dry run': (letters: DeadLetters) => letters.redrive({ dryRun: true }),
    purge: (letters: DeadLetters) => letters.purge(),
  }

  async function warningsOf(of: DeadLettersOf, name: keyof typeof act): Promise<string[]> {
    const { bus } = await start()
    await bus.consume('orders.*', () => {}, { group: 'billing' }).ready
    await bus.publish('orders.placed', 1)
    const warnings: string[] = []
    bus.events.on('warning', ({ code, detail }) => warnings.push(`${code}: ${detail}`))
    await act[name](of(bus))
    return warnings
  }

  it.each(Object.keys(act) as (keyof typeof act)[])('is named by a warning: %s', async (name) => {
    expect(await warningsOf((bus) => bus.deadLetters('orders.placed', 'biling'), name)).toEqual([
      'unknown-group: "orders.placed.biling.dlq" holds no dead letters, and topic "orders.placed" has no group "biling"; its groups are: "billing"',
    ])
    expect(await warningsOf((bus) => bus.deadLetters('order.placed', 'billing'), name)).toEqual([
      'unknown-group: "order.placed.billing.dlq" holds no dead letters, and topic "order.placed" has no group "billing"; it has no groups at all: is its name right?',
    ])
  })

  it('is none when the group has no dead letters, or is one of broadcast consumers', async () => {
    expect(await warningsOf((bus) => bus.deadLetters('orders.placed', 'billing'), 'redrive')).toEqual([])
    expect(await warningsOf((bus) => bus.deadLetters('orders.placed', 'test-broadcast'), 'purge')).toEqual([])
  })

  it('costs nothing when the broker can not say which groups there are', async () => {
    const transport = new LetterStore()
    const { bus } = await startOn(
      Object.assign(transport, {
        admin: { ...transport.admin, groups: () => Promise.reject(new ConnectionError('no permission')) },
      }),
    )
    expect(await bus.deadLetters('t').redrive()).toMatchObject({ matched: 0 })
  })
})

type DeadLettersOf = (bus: Bus) => DeadLetters

describe('a redrive', () => {
  it('does not send the dead letters of a broadcast consumer to a group without members', async () => {
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

  it('sends what has been redriven more often first, and otherwise keeps the order of the topic', async () => {
    const { letters, store: kept } = await store()
    for (const [id, redrives] of [
      ['a', 0],
      ['b', 2],
      ['c', 1],
      ['d', 0],
      ['e', 2],
      ['f', 10],
    ] as const)
      kept.addLetter(id, { redrives })
    expect(await letters.redrive()).toEqual({ matched: 6, redriven: 6, failed: [] })
    expect(idsOf(kept.sent)).toEqual(['f', 'b', 'e', 'c', 'a', 'd'])
    expect(kept.size).toBe(0)
  })

  it('counts a limit in the order in which it sends', async () => {
    const { letters, store: kept } = await store()
    for (const [id, redrives] of [
      ['a', 0],
      ['b', 0],
      ['c', 1],
      ['d', 1],
    ] as const)
      kept.addLetter(id, { redrives })
    expect(await letters.redrive({ limit: 3, dryRun: true })).toMatchObject({ matched: 3, redriven: 0 })
    expect(await letters.redrive({ limit: 3 })).toMatchObject({ matched: 3, redriven: 3 })
    expect(idsOf(kept.sent)).toEqual(['c', 'd', 'a'])
    expect(await letters.redrive({ limit: 0 })).toMatchObject({ matched: 0, redriven: 0 })
    expect(kept.size).toBe(1)
  })

  it('leaves what fails again, or dies, while it runs to the next call', async () => {
    const { letters, store: kept } = await store()
    for (let n = 0; n < 500; n++) kept.addLetter(`m${n}`, { redrives: n % 2 })
    kept.answer = async (batch) => {
      kept.sent.push(...batch)
      // Each copy fails again before its dead letter is deleted, and another message dies beside it.
      for (const { id, headers } of batch) {
        kept.addLetter(id, { redrives: Number(headers['busbar-redrives']) })
        kept.addLetter(`new-${id}`)
      }
      return batch.map((): PublishOutcome => ({ position: undefined }))
    }
    expect(await letters.redrive()).toMatchObject({ matched: 500, redriven: 500 })
    expect(kept.sent).toHaveLength(500)
    expect(new Set(idsOf(kept.sent)).size).toBe(500)
    expect(kept.size).toBe(1_000)
  })

  it('sends each of several dead letters of one id', async () => {
    const { letters, store: kept } = await store()
    for (const id of ['twin', 'other', 'twin']) kept.addLetter(id)
    expect(await letters.redrive({ ids: ['twin'] })).toMatchObject({ matched: 2, redriven: 2 })
    expect(idsOf(kept.sent)).toEqual(['twin', 'twin'])
    expect(kept.size).toBe(1)
  })

  it('sends the one that the filter chose when several have one id', async () => {
    const { bus, transport } = await start()
    const handled: unknown[] = []
    let fails = true
    const handler = (message: { readonly data: unknown }, ctx: { reject(reason: string): never }): void => {
      if (fails) ctx.reject('no')
      handled.push(message.data)
    }
    await bus.consume('t', handler).ready
    for (const data of ['first', 'second', 'third']) await bus.publish('t', data, { id: 'same' })
    await transport.waitForMessages('t.test.dlq', 3)
    fails = false
    const letters = bus.deadLetters('t')
    const report = await letters.redrive({ filter: (letter) => letter.data() === 'second' })
    expect(report).toMatchObject({ matched: 1, redriven: 1 })
    await expect.poll(() => handled).toEqual(['second'])
    expect((await letters.list()).map((letter) => letter.data())).toEqual(['first', 'third'])
  })

  it('asks the filter once for each letter', async () => {
    const { letters, store: kept } = await store()
    for (let n = 0; n < 450; n++) kept.addLetter(`m${n}`)
    let asked = 0
    expect(await letters.redrive({ filter: () => ++asked % 2 === 0 })).toMatchObject({ redriven: 225 })
    expect(asked).toBe(450)
  })

  it('sends what another program put there to this topic and group, whatever its headers say', async () => {
    const { letters, store: kept } = await store()
    const topic = 't.test.dlq'
    for (const [id, headers] of [
      ['bare', {}],
      ['elsewhere', { 'busbar-dlq-topic': 'other', 'busbar-dlq-group': 'others', 'busbar-dlq-reason': 'rejected' }],
      ['nonsense', { 'busbar-dlq-attempts': 'many', 'busbar-dlq-last-at': 'now', 'busbar-redrives': '-1', mine: '1' }],
    ] as const)
      kept.add(() => encoded(id, { topic, type: topic, time: 5_000, headers }))
    kept.addLetter('ours')
    const found = await letters.list()
    expect(found.map(({ message, reason, attempts, redrives }) => [message.id, reason, attempts, redrives])).toEqual([
      ['bare', 'unknown', 0, 0],
      ['elsewhere', 'rejected', 0, 0],
      ['nonsense', 'unknown', 0, 0],
      ['ours', 'exhausted', 1, 0],
    ])
    expect(found[2]).toMatchObject({ lastAttemptAt: new Date(0), message: { headers: { mine: '1' } } })
    expect(await letters.redrive()).toEqual({ matched: 4, redriven: 4, failed: [] })
    expect(kept.sent.map((sent) => `${sent.id} ${sent.topic} ${sent.type} ${sent.group}`)).toEqual([
      'bare t t test',
      'elsewhere t t test',
      'nonsense t t test',
      'ours t orders.placed test',
    ])
  })

  it('holds back later letters of a key whose copy was not confirmed, and no others', async () => {
    const { letters, store: kept } = await store()
    for (let n = 0; n < 60; n++) kept.addLetter(`m${n}`, { key: `k${n % 3}` })
    kept.answer = async (batch) => {
      const outcomes = batch.map(({ id }): PublishOutcome => {
        if (id !== 'm1') return { position: undefined }
        return { error: new PublishError('no answer', { outcome: 'unknown', retryable: true }) }
      })
      kept.sent.push(...batch.filter((_, index) => outcomes[index]?.error === undefined))
      return outcomes
    }
    // Twenty in one batch; what goes out together with the one that fails can't be held back any more.
    const report = await letters.redrive({ ratePerSecond: 200 })
    const late = Array.from({ length: 60 }, (_, n) => n).filter((n) => n >= 20 && n % 3 === 1)
    expect(idsOf(report.failed)).toEqual(['m1', ...late.map((n) => `m${n}`)])
    expect([report.redriven, kept.size]).toEqual([59 - late.length, 1 + late.length])
    expect(report.failed[1]?.error.message).toContain('was not sent: the copy of an earlier one of its key')
  })

  it('does not let what can never be sent hold up its key', async () => {
    const { letters, store: kept } = await store()
    for (const id of ['huge', 'small']) kept.addLetter(id, { key: 'k' })
    kept.answer = async (batch) =>
      batch.map(({ id }) =>
        id === 'huge' ? { error: new PublishError('too large', { outcome: 'not-sent' }) } : { position: undefined },
      )
    const report = await letters.redrive({ ratePerSecond: 10 })
    expect([report.redriven, idsOf(report.failed)]).toEqual([1, ['huge']])
  })
})

describe('a redrive that ends early', () => {
  it('rejects with what was done when it is aborted, and says so in the event', async () => {
    const { letters, store: kept, events } = await store()
    for (let n = 0; n < 1_000; n++) kept.addLetter(`m${n}`)
    const aborting = new AbortController()
    const reason = new Error('enough')
    kept.onRemove = () => {
      if (kept.sent.length >= 200) aborting.abort(reason)
    }
    const error: unknown = await letters.redrive({ signal: aborting.signal }).catch((thrown: unknown) => thrown)
    if (!InterruptedError.is(error)) throw error
    expect(error).toMatchObject({ name: 'AbortError', code: 'BUSBAR_INTERRUPTED', aborted: true, cause: reason })
    const { matched, redriven, failed } = error.report
    expect([matched, redriven, failed]).toEqual([1_000, kept.sent.length, []])
    expect(redriven).toBeGreaterThanOrEqual(200)
    expect(redriven).toBeLessThan(1_000)
    expect(error.message).toContain(`was aborted after ${redriven} of 1000 dead letters`)
    expect(kept.size).toBe(1_000 - redriven)
    expect(events).toEqual([expect.objectContaining({ redriven, purged: 0, failed: 0, complete: false })])
    expect(await letters.redrive()).toMatchObject({ redriven: 1_000 - redriven })
    expect(new Set(idsOf(kept.sent)).size).toBe(1_000)
  })

  it('does nothing, and emits nothing, when it is aborted before it begins', async () => {
    const { letters, store: kept, events } = await store()
    kept.addLetter('a')
    const signal = AbortSignal.abort()
    for (const call of [letters.redrive({ signal }), letters.purge({ signal })])
      await expect(call).rejects.toMatchObject({
        name: 'AbortError',
        report: { matched: 0, redriven: 0, purged: 0, failed: [] },
      })
    expect([kept.size, kept.sent.length, events.length]).toEqual([1, 0, 0])
  })

  it('can be aborted while a rate makes it wait', async () => {
    const { letters, store: kept } = await store()
    for (let n = 0; n < 10; n++) kept.addLetter(`m${n}`)
    const aborting = new AbortController()
    kept.onRemove = () => void setImmediate(() => aborting.abort())
    const redrive = letters.redrive({ ratePerSecond: 0.001, signal: aborting.signal })
    await expect(redrive).rejects.toMatchObject({ report: { matched: 10, redriven: 1 } })
  })

  it('keeps the report when the broker fails half-way', async () => {
    const { letters, store: kept, events } = await store()
    for (let n = 0; n < 100; n++) kept.addLetter(`m${n}`)
    let removals = 0
    const lost = new ConnectionError('the broker is away')
    kept.onRemove = () => {
      if (++removals === 2) throw lost
    }
    const error: unknown = await letters.redrive().catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ name: 'InterruptedError', aborted: false, cause: lost, retryable: true })
    expect(events).toEqual([expect.objectContaining({ redriven: kept.sent.length, complete: false })])
  })

  it('passes on an error as it is when nothing was done', async () => {
    const { letters, store: kept, events } = await store()
    kept.addLetter('a')
    const lost = new ConnectionError('the broker is away')
    kept.onRead = () => Promise.reject(lost)
    await expect(letters.redrive()).rejects.toBe(lost)
    await expect(letters.purge()).rejects.toBe(lost)
    expect(events).toEqual([])
  })
})

describe('a purge', () => {
  it('says how many it has deleted when it is aborted', async () => {
    const { letters, store: kept, events } = await store()
    for (let n = 0; n < 1_000; n++) kept.addLetter(`m${n}`)
    const aborting = new AbortController()
    kept.onRemove = () => {
      if (kept.removed.length >= 400) aborting.abort()
    }
    await expect(letters.purge({ signal: aborting.signal })).rejects.toMatchObject({
      name: 'AbortError',
      report: { matched: 1_000, redriven: 0, purged: 600, failed: [] },
    })
    expect(kept.size).toBe(400)
    expect(events).toEqual([expect.objectContaining({ purged: 600, complete: false })])
    expect(await letters.purge()).toBe(400)
  })
})

describe('the options of calls that send or delete', () => {
  it.each([
    ['purge', { id: ['a'] }, 'id: is not a known option; did you mean "ids"?'],
    ['purge', { ids: 'a' }, 'ids: must be an array, got a string'],
    ['purge', { ids: ['a', 7] }, 'ids[1]: must be a message id'],
    ['purge', { limit: -1 }, 'limit: must be a whole number >= 0, got -1'],
    ['purge', { dryRun: true }, 'dryRun: is not a known option'],
    ['purge', 'a', 'must be an object, got a string'],
    ['purge', ['a'], 'must be an object, got an array'],
    ['purge', null, 'must be an object, got null'],
    ['redrive', { dryrun: true }, 'dryrun: is not a known option; did you mean "dryRun"?'],
    ['redrive', { dryRun: 'yes' }, 'dryRun: must be true or false, got a string'],
    ['redrive', { ratePerSecond: 0 }, 'ratePerSecond: must be a number from 0.001 to Infinity, got 0'],
    ['redrive', { ratePerSecond: -5 }, 'ratePerSecond: must be'],
    ['redrive', { ratePerSecond: Number.NaN }, 'ratePerSecond: must be'],
    ['redrive', { ratePerSecond: '50' }, 'ratePerSecond: must be'],
    ['redrive', { maxRedrives: 1.5 }, 'maxRedrives: must be a whole number'],
    ['redrive', { filter: 'all' }, 'filter: must be a function, got a string'],
    ['redrive', { signal: true }, 'signal: must be an object with addEventListener()'],
    ['list', { limit: '10' }, 'limit: must be a whole number >= 0, got a string'],
    ['list', { idz: [] }, 'idz: is not a known option; did you mean "ids"?'],
    ['get', 7, 'ids[0]: must be a message id'],
  ] as const)('%s(%j) is refused before anything happens', async (method, options, problem) => {
    const { letters, store: kept, events } = await store()
    let reads = 0
    kept.onRead = () => void reads++
    kept.addLetter('a')
    const call = (letters[method] as (given: unknown) => Promise<unknown>)(options)
    const error: unknown = await call.catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'BUSBAR_CONFIGURATION' })
    expect((error as Error).message).toContain(problem)
    expect((error as Error).message).toContain(`deadLetters("t", "test").${method}() has invalid options`)
    expect([reads, kept.size, kept.sent.length, events.length]).toEqual([0, 1, 0, 0])
  })

  it('are refused all at once', async () => {
    const { letters } = await store()
    const call = letters.redrive({ ratePerSecond: 0, limit: -1, ids: 'x', dryrun: true } as never)
    await expect(call).rejects.toMatchObject({ problems: { length: 4 } })
  })

  it('include those of bus.deadLetters itself', async () => {
    const { bus } = await startOn(new LetterStore())
    expect(() => bus.deadLetters('t', 'g', { transprot: 'main' } as never)).toThrow('did you mean "transport"?')
  })
})

describe('bus.deadLetters', () => {
  it('says what is missing before the bus is started, and after it is closed', async () => {
    const bus = createBus({ logger: false, service: 'test', transport: memory() })
    expect(() => bus.deadLetters('t')).toThrow('await bus.start() before you look at dead letters')
    await bus.start()
    await bus.close()
    expect(() => bus.deadLetters('t')).toThrow('its dead letters can no longer be reached')
  })
})

describe('memory', () => {
  it('holds one page of dead letters, however many there are', { timeout: 30_000 }, async () => {
    const { letters, store: kept } = await store()
    // 240 MB of bodies, made when they are read. A copy that is sent is not kept here either.
    for (let n = 0; n < 6_000; n++) kept.addLetter(`m${n}`, { body: undefined, redrives: n % 3 })
    kept.bodyBytes = 40_000
    let sent = 0
    kept.answer = async (batch) => {
      sent += batch.length
      kept.published.length = 0
      return batch.map((): PublishOutcome => ({ position: undefined }))
    }
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const held = (): number => {
      collect()
      const { arrayBuffers, heapUsed } = process.memoryUsage()
      return arrayBuffers + heapUsed
    }
    const before = held()
    let peak = 0
    let reads = 0
    // What is alive when the next page is asked for: every third look is enough, each collects everything.
    kept.onRead = () => {
      if (reads++ % 3 === 0) peak = Math.max(peak, held() - before)
    }
    expect(await letters.redrive({ dryRun: true })).toMatchObject({ matched: 6_000 })
    expect(reads).toBeGreaterThan(50)
    expect(await letters.redrive({ filter: ({ message }) => message.body?.byteLength === 40_000 })).toMatchObject({
      redriven: 6_000,
    })
    expect(await letters.purge()).toBe(0)
    expect([sent, kept.size]).toEqual([6_000, 0])
    expect(peak).toBeLessThan(24_000_000)
  })
})
