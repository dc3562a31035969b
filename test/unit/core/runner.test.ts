import { afterEach, describe, expect, it } from 'vitest'
import { createBus, defineEvent } from 'busbar'
import type { Bus, ConsumeOptions, EventDefinition, StandardSchema } from 'busbar'
import type { PendingDelivery } from '../../../src/core/consume/pending-delivery.ts'
import type { Preparation } from '../../../src/core/consume/preparation.ts'
import type { Runner, RunnerHost } from '../../../src/core/consume/runner.ts'
import { consumeWith } from '../../../src/core/bus.ts'
import { manualClock } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import { turn } from './stage.ts'
import { delivery, StubTransport } from './stub-transport.ts'
import type { StubSubscription } from './stub-transport.ts'

/** Keeps what it gets, several of a key at once, until the test settles it: as a pipeline does. */
class Holder implements Runner {
  readonly held = new Map<string, PendingDelivery>()
  startsAtOnce = true
  readonly #host: RunnerHost
  readonly #preparation: Preparation

  constructor(host: RunnerHost, preparation: Preparation) {
    this.#host = host
    this.#preparation = preparation
  }

  get running(): number {
    return this.held.size
  }

  pump(): void {
    for (let pending = this.#host.scheduler.next(); pending !== undefined; pending = this.#host.scheduler.next()) {
      this.#begin(pending)
      const { queue } = pending
      if (queue === undefined) continue
      for (
        let more = this.#host.scheduler.following(queue);
        more !== undefined;
        more = this.#host.scheduler.following(queue)
      )
        this.#begin(more)
    }
  }

  #begin(pending: PendingDelivery): void {
    if (!this.#host.begin(pending)) return
    this.held.set(pending.message.id, pending)
    if (this.startsAtOnce) this.#host.started(pending)
  }

  start(id: string): void {
    this.#host.started(this.held.get(id) as PendingDelivery)
  }

  #take(id: string): PendingDelivery {
    const pending = this.held.get(id)
    if (pending === undefined) throw new Error(`${id} is not held`)
    this.held.delete(id)
    return pending
  }

  succeed(id: string): void {
    this.#host.succeeded(this.#take(id))
    this.pump()
  }

  /** Prepares its data, and fails it if that can't be done. */
  async prepare(id: string): Promise<unknown> {
    const pending = this.held.get(id)
    if (pending === undefined) throw new Error(`${id} is not held`)
    try {
      await this.#preparation.run(pending)
      return pending.message.data
    } catch (error) {
      this.#host.failed(this.#take(id), error)
      return error
    }
  }

  /** Fails one, and gives back those of its key that came after it. */
  fail(id: string, behind: readonly string[]): void {
    const pending = this.#take(id)
    const { queue } = pending
    const later = behind.map((each) => this.#take(each))
    this.#host.failed(pending, new Error('no'))
    if (queue !== undefined) this.#host.requeueBehind(queue, later)
    this.pump()
  }

  abort(): void {}
  flush(): void {}
}

/** Takes even numbers, asynchronously. */
const even: StandardSchema<number, string> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    async validate(value) {
      await turn()
      return typeof value === 'number' && value % 2 === 0
        ? { value: `two times ${value / 2}` }
        : { issues: [{ message: 'must be even' }] }
    },
  },
}

const open: Bus[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((bus) => bus.close({ timeoutMs: 0 })))
})

async function stage(
  target: string | EventDefinition<number, string> = 'orders.placed',
  clock?: ManualClock,
): Promise<{ runner: Holder; broker: StubSubscription; bus: Bus }> {
  const transport = new StubTransport()
  const bus = createBus({ service: 'test', transport, logger: false, clock })
  open.push(bus)
  let runner: Holder | undefined
  const options: ConsumeOptions = { retry: { backoff: 'fixed', baseMs: 1 } }
  consumeWith(bus, target, (host, _attempts, preparation) => (runner = new Holder(host, preparation)), options)
  await bus.start()
  return { runner: runner as Holder, broker: transport.subscriptions[0] as StubSubscription, bus }
}

describe('a separate runner', () => {
  it('settles deliveries whenever and in whichever order it likes, with more of a key taken meanwhile', async () => {
    const { runner, broker } = await stage()
    broker.deliver(delivery('a1', { key: 'a' }), delivery('a2', { key: 'a' }), delivery('b1', { key: 'b' }))
    expect([...runner.held.keys()]).toEqual(['a1', 'a2', 'b1'])
    runner.succeed('a2')
    await turn()
    expect(broker.outcomes()).toEqual(['a2 ack'])
    broker.deliver(delivery('a3', { key: 'a' }))
    await turn()
    // Its key is not free before all that was taken of it is settled.
    expect([...runner.held.keys()]).toEqual(['a1', 'b1'])
    runner.succeed('a1')
    await turn()
    expect([...runner.held.keys()]).toEqual(['b1', 'a3'])
    runner.succeed('b1')
    runner.succeed('a3')
    await turn()
    expect(broker.outcomes()).toEqual(['a2 ack', 'a1 ack', 'b1 ack', 'a3 ack'])
  })

  it('has a delivery noted as running only after it has started it', async () => {
    const clock = manualClock()
    const { runner, broker } = await stage('orders.placed', clock)
    runner.startsAtOnce = false
    broker.deliver(delivery('preparing'), delivery('running'))
    runner.start('running')
    await clock.advance(100)
    expect(broker.notes).toEqual(['running 1 running'])
    runner.start('preparing')
    await clock.advance(100)
    expect(broker.notes).toEqual(['running 1 running', 'preparing 1 running'])
  })

  it('has a failed delivery again before those of its key that it gave back', async () => {
    const { runner, broker } = await stage()
    broker.deliver(delivery('a1', { key: 'a' }), delivery('a2', { key: 'a' }), delivery('a3', { key: 'a' }))
    runner.fail('a1', ['a2', 'a3'])
    expect([...runner.held.keys()]).toEqual([])
    await expect.poll(() => [...runner.held.keys()]).toEqual(['a1', 'a2', 'a3'])
    expect(broker.outcomes()).toEqual([])
    expect(runner.held.get('a1')?.attempt).toBe(2)
    expect(runner.held.get('a2')?.attempt).toBe(1)
  })

  it('prepares data as the other runners do, and does not try again what does not fit its schema', async () => {
    const { runner, broker } = await stage(defineEvent('orders.placed', even))
    broker.deliver(
      delivery('a', { body: Buffer.from('2'), contentType: 'application/json' }),
      delivery('b', { body: Buffer.from('3'), contentType: 'application/json' }),
      delivery('c', { body: Buffer.from('{'), contentType: 'application/json' }),
    )
    expect(await runner.prepare('a')).toBe('two times 1')
    expect(await runner.prepare('b')).toMatchObject({ name: 'ValidationError' })
    expect(await runner.prepare('c')).toMatchObject({ name: 'CodecError' })
    runner.succeed('a')
    await turn()
    expect(broker.outcomes().toSorted()).toEqual(['a ack', 'b reject', 'c reject'])
  })

  it('is waited for when the bus closes, and returns to the broker what it still holds when the time is up', async () => {
    const { runner, broker, bus } = await stage()
    broker.deliver(delivery('a'), delivery('b'))
    const closing = bus.close({ timeoutMs: 200 })
    await turn()
    expect(bus.state).toBe('draining')
    runner.succeed('a')
    await closing
    expect(broker.outcomes()).toEqual(['a ack', 'b release'])
  })
})
