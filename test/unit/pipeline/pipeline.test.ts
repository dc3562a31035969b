import { afterEach, describe, expect, it } from 'vitest'
import { ConfigurationError, createBus, defineEvent, StateError } from 'busbar'
import type { Bus } from 'busbar'
import { memory } from 'busbar/memory'
import { pipeline, topic } from 'busbar/pipeline'
import type { Sealed } from 'busbar/pipeline'
import { waitUntil } from 'busbar/testing'

const Order = defineEvent<{ id: string; total: number }>('orders.placed', { key: (order) => order.id[0] as string })
const Invoice = defineEvent<{ of: string }>('invoices')

const open: Bus[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((bus) => bus.close({ timeoutMs: 0 })))
})

async function running(...pipelines: Sealed[]): Promise<Bus> {
  const bus = createBus({ service: 'test', transport: memory(), logger: false })
  open.push(bus)
  for (const each of pipelines) await bus.use(each)
  await bus.start()
  return bus
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

describe('a pipeline', () => {
  it('runs iterables without a bus', async () => {
    const seen: number[] = []
    const report = await pipeline('numbers')
      .from([1, 2, 3, 4, 5])
      .map((n) => n * 2)
      .filter((n) => n > 2)
      .flatMap((n) => [n, n + 1])
      .to((n) => void seen.push(n))
      .run()
    expect(seen).toEqual([4, 5, 6, 7, 8, 9, 10, 11])
    expect(report).toEqual({ read: 5, handled: 5, failed: 0, failures: [] })
  })

  it('takes a topic, and publishes what comes out with the cause', async () => {
    const invoices = pipeline('invoices')
      .from(Order)
      .filter({ total: { gt: 0 } })
      .map(async (order) => {
        await turn()
        return { of: order.id }
      })
      .to(Invoice)
    const bus = await running(invoices)
    const got: (string | undefined)[] = []
    bus.consume(Invoice, (message) => void got.push(`${message.data.of} of ${message.causationId}`))
    await bus.publish(Order, { id: 'a1', total: 0 }, { id: 'first' })
    await bus.publish(Order, { id: 'a2', total: 5 }, { id: 'second' })
    await waitUntil(() => got.length === 1)
    expect(got).toEqual(['a2 of second'])
  })

  it('acks after the last descendant, and dead-letters with the stage and the error', async () => {
    const gates: (() => void)[] = []
    const orders = pipeline('orders')
      .from(Order)
      .flatMap((order) => [1, 2, 3].map((part) => ({ ...order, part })))
      .tap(async ({ part, total }) => {
        if (part === 3) await new Promise<void>((resolve) => gates.push(resolve))
        if (total < 0 && part === 2) throw new Error('negative')
      })
      .ack()
    const bus = await running(orders)
    const acks: string[] = []
    bus.events.on('ack', ({ message }) => acks.push(message.id))
    await bus.publish(Order, { id: 'a1', total: 1 }, { id: 'good' })
    await bus.publish(Order, { id: 'b1', total: -1 }, { id: 'bad' })
    await waitUntil(() => gates.length === 2)
    expect(acks).toEqual([])
    for (const open of gates) open()
    const letters = bus.deadLetters('orders.placed')
    await waitUntil(async () => acks.length > 0 && (await letters.list()).length === 1)
    expect(acks).toEqual(['good'])
    expect((await letters.list())[0]).toMatchObject({
      reason: 'rejected',
      errorMessage: expect.stringContaining('negative'),
    })
  })

  it('batches by size, and by time', async () => {
    const batches: string[][] = []
    const bus = await running(
      pipeline('b')
        .from(topic(Order, { group: 'b' }))
        .batch({ size: 3, timeoutMs: 20 })
        .to(({ data, trigger }) => void batches.push([trigger, ...data.map(({ id }) => id)])),
    )
    await bus.publishMany(
      Order,
      ['a', 'b', 'c', 'd'].map((id) => ({ data: { id, total: 1 } })),
    )
    await waitUntil(() => batches.length === 2)
    expect(batches).toEqual([
      ['size', 'a', 'b', 'c'],
      ['timeout', 'd'],
    ])
  })

  it('P-26 lets a batch go that can not be filled', async () => {
    const batches: [string, number][] = []
    await pipeline('p', { maxInFlight: 50 })
      .from(Array.from({ length: 120 }, (_, index) => index))
      .batch({ size: 100, timeoutMs: 3_600_000 })
      .to(({ data, trigger }) => void batches.push([trigger, data.length]))
      .run()
    expect(batches).toEqual([
      ['pressure', 50],
      ['pressure', 50],
      ['pressure', 20],
    ])
  })

  it('sends each to its branch, and merges what stays open in order of its key', async () => {
    const seen: string[] = []
    const slow = new Map<string, () => void>()
    await pipeline('branches')
      .from(['a1', 'b1', 'a2', 'b2', 'c1'])
      .key((id) => id[0] as string)
      .branch({
        slow: {
          where: (id) => id.endsWith('1') && !id.startsWith('c'),
          flow: (flow) =>
            flow.tap(async (id) => {
              await new Promise<void>((resolve) => {
                slow.set(id, resolve)
                if (slow.size === 2) for (const end of slow.values()) setImmediate(end)
              })
            }),
        },
        fast: { where: (id) => id.endsWith('2'), flow: (flow) => flow.map((id) => `${id}!`) },
        rest: { flow: (flow) => flow.to((id) => void seen.push(`rest ${id}`)) },
      })
      .to((id) => void seen.push(id))
      .run()
    expect(seen).toEqual(['rest c1', 'a1', 'a2!', 'b1', 'b2!'])
  })

  it('catches what failed', async () => {
    const seen: unknown[] = []
    const report = await pipeline('catching')
      .from([1, 2, 3])
      .map(
        (n) => {
          if (n === 2) throw new Error('two')
          return n
        },
        { name: 'check' },
      )
      .catch((failed) =>
        failed.tap(({ data, error, stage }) => void seen.push([data, (error as Error).message, stage])),
      )
      .to((n) => void seen.push(n))
      .run()
    expect(seen).toEqual([1, [2, 'two', 'check'], 3])
    expect(report).toMatchObject({ handled: 3, failed: 0 })
  })

  it('P-03 dead-letters a message once, after its other children, whose ids are the same each time', async () => {
    const seen: string[] = []
    const orders = pipeline('orders', { onFailure: 'requeue', retry: { attempts: 2, backoff: 'fixed', baseMs: 1 } })
      .from(Order)
      .flatMap(() => [0, 1, 2])
      .to((part, { id }) => {
        if (part === 1) throw new Error('no')
        seen.push(id)
      })
    const bus = await running(orders)
    await bus.publish(Order, { id: 'a1', total: 1 }, { id: 'root' })
    const letters = bus.deadLetters('orders.placed')
    await waitUntil(async () => (await letters.list()).length === 1)
    expect(seen).toEqual(['root/0', 'root/2', 'root/0', 'root/2'])
    expect((await letters.list())[0]).toMatchObject({ reason: 'exhausted', attempts: 2 })
  })

  it('handles a requeued message before what came behind it, and that again', async () => {
    const seen: string[] = []
    const orders = pipeline('orders', { onFailure: 'requeue', retry: { backoff: 'fixed', baseMs: 1 } })
      .from(Order)
      .tap(async (_order, { id, attempt }) => {
        await turn()
        seen.push(`${id}#${attempt}`)
        if (id === 'first' && attempt < 3) throw new Error('not yet')
      })
      .ack()
    const bus = await running(orders)
    const acks: string[] = []
    bus.events.on('ack', ({ message }) => acks.push(message.id))
    await Promise.all(['first', 'second'].map((id) => bus.publish(Order, { id: 'a', total: 1 }, { id })))
    await waitUntil(() => acks.length === 2)
    expect(acks).toEqual(['first', 'second'])
    expect(seen.filter((each) => each.startsWith('first'))).toEqual(['first#1', 'first#2', 'first#3'])
    expect(seen.at(-1)).toBe('second#1')
    expect(seen.at(-2)).toBe('first#3')
  })

  it('P-12 fails what a batch has no result for', async () => {
    const report = await pipeline('p')
      .from([0, 1, 2, 3])
      .batch({ size: 4 })
      .each(({ data }) => [data[0] as number, new Error('odd'), data[2] as number])
      .ack()
      .run()
    expect(report).toMatchObject({ handled: 2, failed: 2 })
    expect(report.failures.map(({ index, error }) => [index, (error as Error).message])).toEqual([
      [1, 'odd'],
      [3, '"batch" returned no result for message 3'],
    ])
  })

  it('acks the messages of a batch when what was made of it has ended', async () => {
    let open: () => void = () => {}
    const sums: number[] = []
    const bus = await running(
      pipeline('p')
        .from(Order)
        .batch({ size: 2 })
        .map(({ data }) => data.reduce((sum, { total }) => sum + total, 0))
        .to(async (sum) => {
          sums.push(sum)
          await new Promise<void>((resolve) => (open = resolve))
        }),
    )
    const acks: string[] = []
    bus.events.on('ack', ({ message }) => acks.push(message.id))
    await bus.publish(Order, { id: 'a', total: 1 }, { id: '1' })
    await bus.publish(Order, { id: 'b', total: 2 }, { id: '2' })
    await waitUntil(() => sums.length === 1)
    expect([sums, acks]).toEqual([[3], []])
    open()
    await waitUntil(() => acks.length === 2)
    expect(acks).toEqual(['1', '2'])
  })

  it('P-19 holds no slot while a message waits for its retry in a stage', async () => {
    const seen: string[] = []
    const tries = new Map<string, number>()
    await pipeline('p')
      .from(['bad', 'x', 'y', 'bad2', 'z'])
      .key((id) => (id.startsWith('bad') ? 'bad' : id))
      .tap(
        async (id) => {
          await turn()
          const attempt = (tries.get(id) ?? 0) + 1
          tries.set(id, attempt)
          if (id === 'bad' && attempt < 3) throw new Error('again')
          seen.push(id)
        },
        { concurrency: 1, retry: { attempts: 3, backoff: 'fixed', baseMs: 20 } },
      )
      .ack()
      .run()
    expect(seen).toEqual(['x', 'y', 'z', 'bad', 'bad2'])
  })

  it('pulls an iterator only as fast as what it makes is handled', async () => {
    let made = 0
    let handled = 0
    let most = 0
    function* elements(): Generator<number> {
      for (let index = 0; index < 5_000; index++) {
        made++
        most = Math.max(most, made - handled)
        yield index
      }
    }
    await pipeline('p')
      .from(['one'])
      .flatMap(elements)
      .to(async () => {
        await turn()
        handled++
      })
      .run()
    expect([made, handled]).toEqual([5_000, 5_000])
    expect(most).toBeLessThanOrEqual(258)
  })

  it('reads an iterable only as fast as it is handled, and ends with its error after what was read', async () => {
    let read = 0
    let handled = 0
    async function* broken(): AsyncGenerator<number> {
      for (; read < 30; read++) {
        expect(read - handled).toBeLessThanOrEqual(10)
        await turn()
        yield read
      }
      throw new Error('the file ended in the middle')
    }
    const running = pipeline('p', { maxInFlight: 10 })
      .from(broken())
      .to(async () => {
        await turn()
        handled++
      })
      .run()
    await expect(running).rejects.toThrow('the file ended in the middle')
    await waitUntil(() => handled === 30)
  })

  it('lets batches go when its bus is closed', async () => {
    const batches: string[][] = []
    const bus = await running(
      pipeline('p')
        .from(Order)
        .batch({ size: 100, timeoutMs: 3_600_000 })
        .to(async ({ data, trigger }) => {
          await turn()
          batches.push([trigger, ...data.map(({ id }) => id)])
        }),
    )
    const acks: string[] = []
    bus.events.on('ack', ({ message }) => acks.push(message.id))
    await bus.publish(Order, { id: 'a', total: 1 }, { id: '1' })
    await turn()
    await bus.close()
    expect([batches, acks]).toEqual([[['drain', 'a']], ['1']])
  })

  it('can run again, and takes what is truthy for true', async () => {
    const seen: string[] = []
    const names = pipeline('names')
      .from(['ada', '', 'bob'])
      .filter((name) => name as never)
      .branch({
        a: { where: (name) => name.match(/^a/) as never, flow: (flow) => flow.map((name) => `${name}!`) },
        rest: { flow: (flow) => flow },
      })
      .to((name) => void seen.push(name))
    await names.run()
    await names.run()
    expect(seen).toEqual(['ada!', 'bob', 'ada!', 'bob'])
  })

  it('lets a batch go that the messages of one key can not fill', async () => {
    const batches: [string, number][] = []
    const bus = await running(
      pipeline('p', { maxPerKey: 3 })
        .from(Order)
        .batch({ size: 100, timeoutMs: 3_600_000 })
        .to(({ data, trigger }) => void batches.push([trigger, data.length])),
    )
    await bus.publishMany(
      Order,
      Array.from({ length: 10 }, (_, index) => ({ data: { id: `a${index}`, total: 1 } })),
    )
    await waitUntil(() => batches.length === 3)
    expect(batches).toEqual([
      ['pressure', 3],
      ['pressure', 3],
      ['pressure', 3],
    ])
  })

  it('lets a batch go that is not filled because a transport gives no more of one key', async () => {
    const batches: [string, number][] = []
    const bus = await running(
      pipeline('p', { maxInFlight: 80 })
        .from(Order)
        .batch({ size: 50, timeoutMs: 3_600_000 })
        .to(({ data, trigger }) => void batches.push([trigger, data.length])),
    )
    await bus.publishMany(
      Order,
      Array.from({ length: 40 }, (_, index) => ({ data: { id: `a${index}`, total: 1 } })),
    )
    await waitUntil(() => batches.length === 4)
    expect(batches).toEqual(Array.from({ length: 4 }, () => ['pressure', 10]))
  })

  it('waits for what can only be awaited, such as the query of a query builder', async () => {
    const ran: string[] = []
    const query = (name: string): PromiseLike<void> => ({
      // oxlint-disable-next-line unicorn/no-thenable -- this is what a query builder is
      then: (resolve) => {
        ran.push(name)
        return Promise.resolve().then(resolve as () => never)
      },
    })
    await pipeline('p')
      .from([1, 2])
      .tap(() => query('stage'))
      .batch({ size: 2 })
      .to(() => query('batch'))
      .run()
    expect(ran).toEqual(['stage', 'stage', 'batch'])
  })

  it('takes any number of messages of one key behind one that waits', async () => {
    let open: () => void = () => {}
    const seen: string[] = []
    const bus = await running(
      pipeline('p', { maxPerKey: 20_000, maxInFlight: 100_000 })
        .from(Order)
        .branch({
          first: {
            where: ({ id }) => id === 'a0',
            flow: (flow) => flow.tap(() => new Promise<void>((end) => (open = end))),
          },
          rest: { flow: (flow) => flow },
        })
        .to(({ id }) => void seen.push(id)),
    )
    const ids = Array.from({ length: 10_000 }, (_, index) => `a${index}`)
    await bus.publishMany(
      Order,
      ids.map((id) => ({ data: { id, total: 1 } })),
    )
    await waitUntil(() => bus.snapshot().consumers[0]?.stats.running === 10_000)
    expect(seen).toEqual([])
    open()
    await waitUntil(() => seen.length === 10_000)
    expect(seen).toEqual(ids)
  })

  it('draws itself', () => {
    const drawn = pipeline('p')
      .from(Order, [{ id: 'x', total: 1 }])
      .map((order) => order.total, { name: 'total' })
      .branch({
        big: { where: (total) => total > 9, flow: (flow) => flow.to(() => {}) },
        small: { flow: (flow) => flow },
      })
      .ack()
      .mermaid()
    expect(drawn).toContain('f0(["orders.placed"]) --> s0')
    expect(drawn).toContain('f1(["iterable"]) --> s0')
    expect(drawn).toMatch(/s\d -- "big" --> s\d/)
  })

  it.each<[string, () => unknown, RegExp]>([
    ['a flow that is continued twice', () => twice(), /from: is continued twice: use branch/],
    [
      'two stages of one name',
      () => pipeline('p').from([1]).map(String, { name: 'a' }).map(String, { name: 'a' }),
      /"a" is the name of another stage/,
    ],
    [
      'an option that there is not',
      () =>
        pipeline('p')
          .from([1])
          .map(String, { size: 1 } as never),
      /size: is not a known option/,
    ],
    [
      'a stage without a function',
      () =>
        pipeline('p')
          .from([1])
          .map(undefined as never),
      /run: must be a function, got undefined/,
    ],
    [
      'a wrong filter',
      () =>
        pipeline('p')
          .from([{ a: 1 }])
          .filter({ a: { gt: true } } as never),
      /where\.a\.gt: must be a number/,
    ],
    [
      'a source that is none',
      () => pipeline('p').from(5 as never),
      /0: must be an event, topic\('orders\.\*'\) or an iterable, got 5/,
    ],
    [
      'a sink that is none',
      () =>
        pipeline('p')
          .from([1])
          .to('topic' as never),
      /sink: must be an event of defineEvent\(\) or a function/,
    ],
    [
      'a case that returns nothing',
      () =>
        pipeline('p')
          .from([1])
          .branch({ a: { flow: (() => {}) as never } }),
      /a: flow must return the flow that it got/,
    ],
  ])('refuses %s', (_, make, message) => {
    expect(make).toThrow(ConfigurationError)
    expect(make).toThrow(message)
  })

  it('refuses to start with a flow that leads nowhere, and to read a topic or publish without a bus', async () => {
    const open = pipeline('p').from([1])
    const sealed = open.branch({ a: { flow: (flow) => flow.ack() }, b: { flow: (flow) => flow.map(String) } })
    expect(sealed).toBeDefined()
    const half = pipeline('q')
    const flow = half.from([1])
    half.from([2])
    await expect(flow.ack().run()).rejects.toThrow(/from-2: leads nowhere/)
    await expect(pipeline('p').from(Order).ack().run()).rejects.toThrow(StateError)
    const report = await pipeline('p')
      .from([{ of: 'x' }])
      .to(Invoice)
      .run()
    expect(report.failures[0]?.error).toMatchObject({ message: expect.stringContaining('runs without a bus') })
  })
})

function twice(): void {
  const flow = pipeline('p').from([1])
  flow.map(String)
  flow.map(Number)
}
