import { afterEach, describe, expect, it } from 'vitest'
import { createBus, defineEvent } from 'busbar'
import type { Bus } from 'busbar'
import { memory } from 'busbar/memory'
import { pipeline, topic } from 'busbar/pipeline'
import type { Flow, Sealed } from 'busbar/pipeline'
import { manualClock, waitUntil } from 'busbar/testing'

const Order = defineEvent<{ id: string }>('orders.placed', { key: (order) => order.id[0] as string })

const clock = manualClock()
const open: Bus[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((bus) => bus.close({ timeoutMs: 0 })))
})

async function running(sealed: Sealed): Promise<Bus> {
  const bus = createBus({ service: 'test', transport: memory(), logger: false, clock })
  open.push(bus)
  await bus.use(sealed)
  await bus.start()
  return bus
}

function never(): Promise<never> {
  return new Promise(() => {})
}

describe('what is abandoned', () => {
  const orders = topic(Order, { timeoutMs: 100, abandonAfterMs: 50 })

  it('frees the slot of a batch that has several children of one message', async () => {
    const batches: string[][] = []
    const bus = await running(
      pipeline('p')
        .from(orders)
        .flatMap(({ id }) => [`${id}/0`, `${id}/1`])
        .batch({ size: 2 })
        .to(({ data }) => {
          batches.push([...data])
          return data[0] === 'a/0' ? never() : undefined
        }),
    )
    await bus.publish(Order, { id: 'a' })
    await waitUntil(() => batches.length === 1)
    await clock.advance(200)
    await bus.publish(Order, { id: 'b' })
    await clock.advance(0)
    expect(batches).toEqual([
      ['a/0', 'a/1'],
      ['b/0', 'b/1'],
    ])
  })

  it('frees the slot behind a batch that has several children of one message', async () => {
    const seen: string[] = []
    const bus = await running(
      pipeline('p')
        .from(orders)
        .flatMap(({ id }) => [`${id}/0`, `${id}/1`])
        .batch({ size: 2 })
        .map(({ data }) => data.join())
        .to(
          (both) => {
            seen.push(both)
            return both.startsWith('a') ? never() : undefined
          },
          { concurrency: 1 },
        ),
    )
    await bus.publish(Order, { id: 'a' })
    await waitUntil(() => seen.length === 1)
    await clock.advance(200)
    await bus.publish(Order, { id: 'b' })
    await clock.advance(0)
    expect(seen).toEqual(['a/0,a/1', 'b/0,b/1'])
  })

  it('is not what has failed, and waits until those behind it have ended', async () => {
    const bus = await running(
      pipeline('p', { onFailure: 'requeue', retry: { attempts: 1 } })
        .from(orders)
        .branch({
          hangs: { where: ({ id }) => id === 'a2', flow: (flow) => flow.to(never) },
          fails: {
            flow: (flow) =>
              flow.to(async () => {
                await started
                throw new Error('no stock')
              }),
          },
        })
        .ack(),
    )
    let start: () => void = () => {}
    const started = new Promise<void>((resolve) => (start = resolve))
    await bus.publish(Order, { id: 'a1' })
    await clock.advance(50)
    await bus.publish(Order, { id: 'a2' })
    await clock.advance(10)
    start()
    await clock.advance(200)
    const [letter] = await bus.deadLetters('orders.placed').list()
    expect(letter).toMatchObject({ errorMessage: expect.stringContaining('no stock') })
  })
})

describe('an iterable that throws', () => {
  function turn(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve))
  }

  it('ends the run after what had been read was handled', async () => {
    const handled: number[] = []
    const aborted: number[] = []
    function* broken(): Generator<number> {
      yield* [0, 1, 2]
      throw new Error('the file ended in the middle')
    }
    const run = pipeline('p')
      .from(broken())
      .tap(turn)
      .to(async (n, { signal }) => {
        await turn()
        ;(signal.aborted ? aborted : handled).push(n)
      })
      .run()
    await expect(run).rejects.toThrow('the file ended in the middle')
    expect([handled, aborted]).toEqual([[0, 1, 2], []])
  })

  it('stops the others, and waits for what had been read from them', async () => {
    const handled: string[] = []
    async function* broken(): AsyncGenerator<string> {
      yield 'broken'
      await turn()
      throw new Error('the file ended in the middle')
    }
    async function* endless(): AsyncGenerator<string> {
      for (let index = 0; ; index++) {
        yield `endless ${index}`
        await turn()
      }
    }
    async function* silent(): AsyncGenerator<string> {
      yield 'silent'
      await never()
    }
    let read = 0
    const run = pipeline('p')
      .from(broken(), endless(), silent())
      .tap(() => void read++)
      .to(async (name) => {
        await turn()
        await turn()
        handled.push(name)
      })
      .run()
    await expect(run).rejects.toThrow('the file ended in the middle')
    expect(handled).toHaveLength(read)
  })

  it('is an error of the run, too, when its cleanup throws while its elements are handled', async () => {
    const handled: number[] = []
    async function* numbers(): AsyncGenerator<number> {
      try {
        for (let index = 0; ; index++) yield index
      } finally {
        broken()
      }
    }
    const sealed = pipeline('p', { maxInFlight: 2 })
      .from(numbers())
      .to(async (n) => {
        await turn()
        handled.push(n)
      })
    const bus = await running(sealed)
    const done = sealed.done()
    await Promise.all([
      expect(done).rejects.toThrow('broken'),
      waitUntil(() => handled.length > 2).then(() => bus.close()),
    ])
  })
})

describe('catch', () => {
  it.each<[string, (flow: Flow<number>) => Flow<number>]>([
    [
      'a generator',
      (flow) =>
        flow.flatMap(
          // oxlint-disable-next-line require-yield -- throws before
          function* (): Generator<number> {
            throw new Error('broken')
          },
          { name: 'stage' },
        ),
    ],
    ['a list that is none', (flow) => flow.flatMap(() => 5 as never, { name: 'stage' })],
    ['the test of a case', (flow) => flow.branch({ a: { where: broken, flow: (each) => each } }, { name: 'stage' })],
    ['no case', (flow) => flow.branch({ a: { where: () => false, flow: (each) => each } }, { name: 'stage' })],
    ['the key of a batch', (flow) => flow.batch({ key: broken, name: 'stage' }).map(() => 0)],
    ['the end of a batch', (flow) => flow.batch({ until: broken, name: 'stage' }).map(() => 0)],
  ])('handles what failed in %s', async (_, add) => {
    const caught: unknown[] = []
    const report = await add(pipeline('p').from([1]))
      .catch((failed) => failed.tap(({ data, stage }) => void caught.push([data, stage])))
      .ack()
      .run()
    expect(caught).toEqual([[1, 'stage']])
    expect(report).toMatchObject({ handled: 1, failed: 0 })
  })
})

describe('a merge', () => {
  it.each(['key', 'no order'])('gets more than an iterator may have open, with %s', async (order) => {
    const seen: string[] = []
    const ids = pipeline('p').from(['a1', 'a2', 'b1'])
    const report = await (order === 'key' ? ids.key((id) => id[0] as string) : ids)
      .branch({
        many: {
          where: (id) => id === 'a1',
          flow: (flow) =>
            flow.flatMap(function* (id) {
              for (let index = 0; index < 1_000; index++) yield `${id}/${index}`
            }),
        },
        one: { flow: (flow) => flow },
      })
      .to((id) => void seen.push(id))
      .run()
    expect(report).toMatchObject({ handled: 3, failed: 0 })
    expect(seen.filter((id) => id.startsWith('a'))).toHaveLength(1_001)
    if (order === 'key')
      expect(seen.filter((id) => id.startsWith('a'))).toEqual([
        ...Array.from({ length: 1_000 }, (_, index) => `a1/${index}`),
        'a2',
      ])
  })
})

function broken(): never {
  throw new Error('broken')
}
