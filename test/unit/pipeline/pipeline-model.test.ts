import { expect, it } from 'vitest'
import { createBus } from 'busbar'
import type { Bus } from 'busbar'
import { pipeline, topic } from 'busbar/pipeline'
import type { Batch, Flow, PipelineMessage, Sealed } from 'busbar/pipeline'
import { manualClock, seededRandom } from 'busbar/testing'
import type { ManualClock, Random } from 'busbar/testing'
import { ModelBroker } from '../core/model-broker.ts'
import type { ModelSubscription, Stored } from '../core/model-broker.ts'

interface Setup {
  readonly order: 'key' | 'strict' | 'none'
  readonly onFailure: 'reject' | 'requeue'
  readonly attempts: number
  readonly maxInFlight: number
  readonly maxPerKey: number
  readonly orderedRedelivery: boolean
  readonly timeoutMs: number | undefined
}

function setupOf(random: Random): Setup {
  return {
    order: random.pick(['key', 'key', 'key', 'strict', 'none'] as const),
    onFailure: random.pick(['reject', 'requeue'] as const),
    attempts: random.integer(1, 3),
    maxInFlight: random.integer(1, 30),
    maxPerKey: random.integer(1, 10),
    orderedRedelivery: random.chance(0.5),
    timeoutMs: random.chance(0.3) ? 300 : undefined,
  }
}

/** A call of user code that has not ended. */
interface Run {
  readonly stage: string
  readonly key: string | undefined
  readonly root: string
  /** From then on nobody waits for it (monotonic). */
  abandonedAt: number
}

const KEYS = ['a', 'b', 'c', undefined]
const ENTRY = 'entry'
const GRACE_MS = 50

/** One random, repeatable life of a random pipeline at a broker that keeps to the contract and no more. */
class Life {
  readonly complaints: string[] = []
  readonly random: Random
  readonly clock: ManualClock = manualClock()
  readonly setup: Setup
  readonly broker: ModelBroker
  readonly bus: Bus
  readonly pipeline: Sealed
  readonly runs = new Set<Run>()
  /** What has failed of a message and was not repeated with success. */
  readonly failures = new Map<string, Set<string>>()
  /** What has last begun, by stage and key. */
  readonly begun = new Map<string, readonly number[]>()
  peace = false
  closed = false

  constructor(seed: number) {
    this.random = seededRandom(seed)
    this.setup = setupOf(this.random)
    const { random, clock, setup } = this
    const { orderedRedelivery } = setup
    this.broker = new ModelBroker({
      clock,
      random,
      orderedRedelivery,
      boundsKeys: random.chance(0.5),
      complain: (what) => this.complain(what),
    })
    this.broker.attempts = setup.attempts
    this.bus = createBus({ logger: false, service: 'model', transport: this.broker, clock })
    this.pipeline = this.make()
    void this.bus.use(this.pipeline)
    this.bus.events.on('ack', ({ message }) => this.checkAck(message.id))
  }

  complain(what: string): void {
    if (this.complaints.length < 10) this.complaints.push(what)
  }

  get member(): ModelSubscription {
    return this.broker.member as ModelSubscription
  }

  // --- the pipeline ----------------------------------------------------------------------------------------------------

  make(): Sealed {
    const { random, setup } = this
    const { order, onFailure, maxInFlight, maxPerKey, attempts, timeoutMs } = setup
    const retry = { attempts, backoff: 'fixed', baseMs: random.pick([0, 30, 200]) } as const
    const start = pipeline('model', { order, onFailure, maxInFlight, maxPerKey, retry })
      .from(topic('orders.placed', { timeoutMs, abandonAfterMs: GRACE_MS }))
      .tap((_data, message) => this.enter(message), { name: ENTRY })
    return this.grow(start, random.integer(1, 5), 1).ack()
  }

  grow(start: Flow<unknown>, stages: number, depth: number): Flow<unknown> {
    const { random } = this
    let flow = start
    for (let number = 0; number < stages; number++) {
      const name = `s${depth}-${number}-${random.integer(0, 1_000_000)}`
      const options = {
        name,
        concurrency: random.integer(1, 4),
        retry: random.chance(0.3) ? ({ attempts: 2, backoff: 'fixed', baseMs: 20 } as const) : undefined,
      }
      const kind = random.pick([
        'tap',
        'tap',
        'tap',
        'flatMap',
        'filter',
        'each',
        'fold',
        'branch',
        'catch',
        'key',
      ] as const)
      if (kind === 'tap') flow = flow.tap((_data, message) => this.work(name, [message], undefined), options)
      else if (kind === 'filter')
        flow = flow.filter((_data: unknown, { id }: PipelineMessage) => !id.endsWith('1'), { name })
      else if (kind === 'flatMap') flow = flow.flatMap((data, message) => this.split(name, data, message), options)
      else if (kind === 'key' && depth === 1 && this.setup.order === 'key') {
        flow = flow.key(() => random.pick(['k1', 'k2']))
      } else if (kind === 'each')
        flow = flow.batch(this.batchOptions(name)).each(async (batch) => {
          await this.work(name, batch.items, batch)
          return batch.data
        })
      else if (kind === 'fold')
        flow = flow.batch({ ...this.batchOptions(name), concurrency: 1 }).map(async (batch) => {
          await this.work(name, batch.items, batch)
          return batch.data[0]
        })
      else if (kind === 'branch' && depth < 3)
        flow = flow.branch(
          {
            one: { where: () => random.chance(0.5), flow: (each) => this.grow(each, random.integer(0, 2), depth + 1) },
            two: { where: () => random.chance(0.5), flow: (each) => this.grow(each, random.integer(0, 2), depth + 1) },
            end: { flow: (each) => (random.chance(0.5) ? each : each.ack()) },
          },
          { match: random.pick(['first', 'all']) },
        )
      else if (kind === 'catch' && depth < 3)
        flow = flow.catch((failed) =>
          failed.tap((_data, message) => {
            // What was caught is all right.
            this.failures.get(rootOf(message))?.clear()
          }),
        )
    }
    return flow
  }

  batchOptions(name: string): object {
    const { random } = this
    return {
      name,
      size: random.integer(1, 6),
      timeoutMs: random.pick([10, 100, 10_000]),
      key: random.chance(0.3) ? () => 'one' : undefined,
      concurrency: random.integer(1, 3),
    }
  }

  // --- user code -------------------------------------------------------------------------------------------------------

  enter(message: PipelineMessage): void {
    const stored = this.storedOf(message)
    if (stored.done !== undefined) this.complain(`${stored.id} entered after it was settled`)
    stored.starts++
    this.failures.delete(stored.id)
    const { key } = message
    if (key === undefined) return
    const last = this.begun.get(`${ENTRY} ${key}`)
    if (last !== undefined && stored.order <= (last[0] as number)) {
      for (const run of this.runs)
        if (run.key === key && this.isWaitedFor(run))
          this.complain(`${stored.id} begins again while ${run.root} is in ${run.stage}`)
      for (const place of this.begun.keys()) if (place.endsWith(` ${key}`)) this.begun.delete(place)
    }
    this.begun.set(`${ENTRY} ${key}`, [stored.order])
  }

  begin(stage: string, messages: readonly PipelineMessage[]): Run[] {
    if (this.closed) this.complain('user code started after close')
    const keys = new Set(messages.map(({ key }) => key))
    for (const run of this.runs)
      if (run.stage === stage && run.key !== undefined && keys.has(run.key) && this.isWaitedFor(run))
        this.complain(`two of key "${run.key}" in ${stage} at once`)
    for (const message of messages) {
      const { key } = message
      const stored = this.storedOf(message)
      // What a batch was made into goes on while one of its messages is ours; it has the id of the first.
      if (stored.out === undefined && message.source !== undefined)
        this.complain(`${message.id} started, and is not ours`)
      // What has another key, or was made of a batch, has an order of its own.
      if (key === undefined || message.source === undefined || key !== this.broker.keyOf(stored)) continue
      const path = [stored.order, ...message.id.split('/').slice(1).map(Number)]
      const place = `${stage} ${key}`
      const last = this.begun.get(place)
      // The same again is a retry of the stage.
      if (last !== undefined && compare(last, path) > 0)
        this.complain(`${message.id} in ${stage} after ${last.join('/')}`)
      this.begun.set(place, path)
    }
    const runs = messages.map((message) => ({ stage, key: message.key, root: rootOf(message), abandonedAt: Infinity }))
    for (const [index, run] of runs.entries()) {
      this.runs.add(run)
      messages[index]?.signal.addEventListener('abort', () => (run.abandonedAt = this.clock.monotonic() + GRACE_MS))
    }
    return runs
  }

  work(stage: string, messages: readonly PipelineMessage[], batch: Batch | undefined): void | Promise<void> {
    const { random, broker } = this
    const runs = this.begin(stage, messages)
    if (batch !== undefined && batch.items.length === 0) this.complain(`${stage} got an empty batch`)
    const end = (): void => {
      for (const run of runs) this.runs.delete(run)
      const failed = random.chance(this.peace ? 0.05 : 0.15)
      for (const [index, message] of messages.entries()) {
        // What a batch was made into has the id of its first message, which may be lost meanwhile.
        if (message.source === undefined || (failed && !this.isWaitedFor(runs[index] as Run))) continue
        const known = this.failures.get(rootOf(message)) ?? new Set()
        this.failures.set(rootOf(message), known)
        if (failed) known.add(`${stage} ${message.id}`)
        else known.delete(`${stage} ${message.id}`)
      }
      if (failed) throw new Error(`${stage} failed`)
    }
    if (random.chance(0.4)) return end()
    const signal = messages[0]?.signal
    const cares = random.chance(0.5)
    return new Promise<void>((resolve, reject) => {
      if (cares) signal?.addEventListener('abort', () => reject(signal.reason as Error))
      broker.after(random.integer(0, this.peace ? 10 : 120), resolve)
    }).then(end, (error: unknown) => {
      for (const run of runs) this.runs.delete(run)
      for (const [index, message] of messages.entries())
        if (this.isWaitedFor(runs[index] as Run)) this.failures.set(rootOf(message), new Set([stage]))
      throw error
    })
  }

  async *elements(count: number, data: unknown): AsyncGenerator {
    for (let index = 0; index < count; index++) {
      await new Promise<void>((resolve) => this.broker.after(this.random.integer(0, 5), resolve))
      yield data
    }
  }

  split(stage: string, data: unknown, message: PipelineMessage): Iterable<unknown> | AsyncIterable<unknown> {
    const [run] = this.begin(stage, [message])
    this.runs.delete(run as Run)
    const count = this.random.integer(0, 3)
    return this.random.chance(0.5) ? Array.from({ length: count }, () => data) : this.elements(count, data)
  }

  isWaitedFor({ abandonedAt }: Run): boolean {
    return this.clock.monotonic() < abandonedAt
  }

  // --- what is checked -------------------------------------------------------------------------------------------------

  storedOf(message: PipelineMessage): Stored {
    return this.broker.stored.find(({ id }) => id === rootOf(message)) as Stored
  }

  checkAck(id: string): void {
    for (const run of this.runs)
      if (run.root === id && this.isWaitedFor(run)) this.complain(`${id} was acked while it is in ${run.stage}`)
    const failed = this.failures.get(id)
    if (failed !== undefined && failed.size > 0)
      this.complain(`${id} was acked, and failed in ${[...failed].join(', ')}`)
  }

  // --- life ------------------------------------------------------------------------------------------------------------

  async step(): Promise<void> {
    const { random, broker, clock } = this
    for (let count = random.integer(0, 4); count > 0; count--) broker.publishOne(random.pick(KEYS))
    if (random.chance(0.8)) this.member.deliver(random.integer(1, 10))
    if (random.chance(0.05)) {
      const key = random.pick(KEYS)
      this.member.lose((stored) => broker.keyOf(stored) === broker.keyOf({ ...stored, key }))
      // Where order does not matter, what comes again need not wait for them.
      for (const run of this.runs)
        if (run.key === undefined && broker.stored.find(({ id }) => id === run.root)?.out === undefined)
          run.abandonedAt = 0
    }
    if (random.chance(0.1)) broker.weather.latencyMs = random.pick([0, 0, 30])
    if (random.chance(0.1)) broker.weather.rejectFails = random.pick([0, 0.5])
    await clock.advance(random.pick([0, 1, 10, 60]))
  }

  async finish(): Promise<void> {
    this.peace = true
    Object.assign(this.broker.weather, { latencyMs: 0, settleFails: 0, rejectFails: 0, readFails: 0 })
    for (let round = 0; round < 600 && this.broker.unfinished.length > 0 && this.complaints.length === 0; round++) {
      this.member.deliver(50)
      await this.clock.advance(round > 300 ? 5_000 : 20)
    }
    if (this.complaints.length > 0) return
    await this.clock.advance(1_000)
    const left = this.broker.unfinished.map(({ id, out }) => `${id}${out === undefined ? '' : ' (out)'}`)
    if (left.length > 0) this.complain(`never finished: ${left.join(', ')}`)
    if (this.member.credit !== this.setup.maxInFlight)
      this.complain(`credit leaked: ${this.member.credit} of ${this.setup.maxInFlight}`)
  }

  async close(timeoutMs: number): Promise<void> {
    const ended = this.bus.close({ timeoutMs }).then(() => {
      this.closed = true
    })
    for (let round = 0; round < 300 && !this.closed; round++) await this.clock.advance(100)
    if (!this.closed) return this.complain('close never ended')
    await ended
    await this.clock.advance(0)
    const left = this.clock.pending - this.broker.ownTimers
    if (left !== 0) this.complain(`${left} timers are left after close`)
    await this.clock.advance(20_000)
    return undefined
  }
}

function rootOf({ id }: PipelineMessage): string {
  return id.split('/')[0] as string
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (let at = 0; at < a.length && at < b.length; at++)
    if (a[at] !== b[at]) return (a[at] as number) - (b[at] as number)
  return a.length - b.length
}

async function play(seed: number): Promise<void> {
  const life = new Life(seed)
  const { random } = life
  await life.bus.start()
  const steps = random.integer(5, 60)
  for (let step = 0; step < steps && life.complaints.length === 0; step++) await life.step()
  if (random.chance(0.7)) await life.finish()
  if (life.complaints.length === 0) await life.close(random.pick([0, 100, 20_000]))
  expect(life.complaints, `seed ${seed}: ${JSON.stringify(life.setup)}\n${life.pipeline.mermaid()}`).toEqual([])
}

const LIVES = Number(process.env['BUSBAR_PIPELINE_LIVES'] ?? 2_000)
const FIRST = Number(process.env['BUSBAR_PIPELINE_FIRST'] ?? 1)

it(
  'keeps order, and every message until all that came from it has ended, through anything that may happen',
  {
    timeout: 60_000 + LIVES * 40,
  },
  async () => {
    for (let seed = FIRST; seed < FIRST + LIVES; seed++) await play(seed)
  },
)
