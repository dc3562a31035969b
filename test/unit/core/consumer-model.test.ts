import { expect, it } from 'vitest'
import { createBus } from 'busbar'
import type {
  BatchConsumeOptions,
  BatchContext,
  BatchItemResult,
  Bus,
  ConsumeOptions,
  ConsumerHandle,
  HandlerContext,
  Message,
} from 'busbar'
import { manualClock, seededRandom } from 'busbar/testing'
import type { ManualClock, Random } from 'busbar/testing'
import type { ConsumerControl } from '../../../src/core/handler.ts'
import { ModelBroker } from './model-broker.ts'
import type { ModelSubscription, Stored } from './model-broker.ts'
import { turn } from './stage.ts'

/** What was chosen for one life of a consumer. */
interface Setup {
  readonly batch: boolean
  readonly order: 'key' | 'strict' | 'none'
  readonly orderedRedelivery: boolean
  readonly mode: 'auto' | 'inline' | 'delayed'
  readonly attempts: number
  readonly prefetch: number
  readonly prefetchBytes: number
  readonly concurrency: number
  readonly timeoutMs: number | undefined
  readonly parks: boolean
  readonly boundsKeys: boolean
  /** Most messages are of one key. */
  readonly isHot: boolean
}

/** A run of the handler that has not ended. */
interface Run {
  readonly ids: readonly string[]
  readonly keys: ReadonlySet<string>
  /** It has a message that may have killed its last process. */
  readonly isSuspect: boolean
  abandoned: boolean
}

function setupOf(random: Random): Setup {
  const order = random.pick(['key', 'key', 'key', 'strict', 'none'] as const)
  return {
    batch: random.chance(0.4),
    order,
    orderedRedelivery: random.chance(0.6),
    mode: random.pick(['auto', 'auto', 'inline', 'delayed']),
    attempts: random.integer(1, 4),
    prefetch: random.integer(1, 24),
    prefetchBytes: random.pick([1_024, 1_000_000]),
    concurrency: random.integer(1, 4),
    timeoutMs: random.chance(0.5) ? 200 : undefined,
    parks: order === 'key' && random.chance(0.5),
    boundsKeys: random.chance(0.5),
    isHot: random.chance(0.3),
  }
}

const KEYS = ['a', 'b', 'c', undefined]

/**
 * One random, repeatable life of a consumer at a broker that keeps to the contract and no more. Messages of few keys arrive,
 * handlers end in every way there is, deliveries are lost, settlements refused, the consumer is paused and limited, also by
 * listeners in the middle of things, and in the end it either gets peace and must finish everything, or is closed.
 */
class Life {
  readonly complaints: string[] = []
  readonly random: Random
  readonly clock: ManualClock = manualClock()
  readonly setup: Setup
  readonly broker: ModelBroker
  bus!: Bus
  consumer!: ConsumerHandle & ConsumerControl
  readonly options: Omit<ConsumeOptions, 'middleware'>
  readonly batch: BatchConsumeOptions
  /** How many processes were killed so far. Handlers of dead ones are not looked at. */
  lives = 0
  /** Messages that a handler of this process has had. */
  readonly met = new Set<string>()
  readonly runs = new Set<Run>()
  /** Handlers that wait for their signal; those that never look at it end by hand. */
  readonly stubborn = new Set<() => void>()
  /** Keys of which some went back to a broker that promises no order then. */
  readonly unordered = new Set<string>()
  /** Keys of which a single delivery was lost. */
  readonly scattered = new Set<string>()
  peace = false
  closed = false

  constructor(seed: number) {
    this.random = seededRandom(seed)
    this.setup = setupOf(this.random)
    const { setup, random, clock } = this
    this.broker = new ModelBroker({
      clock,
      random,
      orderedRedelivery: setup.orderedRedelivery,
      boundsKeys: setup.boundsKeys,
      complain: (what) => this.complaints.push(what),
    })
    this.broker.leaseMsOfModel = random.chance(0.5) ? 900 : undefined
    this.broker.attempts = setup.attempts
    this.options = {
      order: setup.order,
      concurrency: setup.concurrency,
      prefetch: setup.prefetch,
      prefetchBytes: setup.prefetchBytes,
      retry: { attempts: setup.attempts, backoff: 'fixed', baseMs: random.pick([0, 50, 400]), mode: setup.mode },
      deadLetter: setup.parks ? 'topic' : random.pick(['topic', 'topic', 'drop']),
      onDeadLetter: setup.parks ? 'park-key' : 'continue',
      timeoutMs: setup.timeoutMs,
      abandonAfterMs: 100,
    }
    this.batch = { ...this.options, batch: { size: random.integer(1, 6), timeoutMs: 20 } }
    this.open()
  }

  /** A process of its own, as it were. */
  open(): void {
    const life = this.lives
    const { setup } = this
    this.bus = createBus({ logger: false, service: 'model', transport: this.broker, clock: this.clock })
    this.consumer = (
      setup.batch
        ? this.bus.consume('orders.placed', (messages, ctx) => this.handleBatch(messages, ctx, life), this.batch)
        : this.bus.consume('orders.placed', (message, ctx) => this.handle(message, ctx, life), this.options)
    ) as ConsumerHandle & ConsumerControl
    // Listeners that meddle in the middle of things.
    for (const name of ['retry', 'delivery', 'ack', 'lost', 'settleFailed', 'deadLetter', 'limit'] as const)
      this.bus.events.on(name, () => {
        if (!this.peace && this.lives === life && this.random.chance(0.03)) this.meddle()
      })
    this.bus.events.on('abandoned', ({ message }) => {
      if (this.lives !== life) return
      // The event names the first message of a batch. One that was taken back may meanwhile be in a second run.
      const run = [...this.runs].find(({ ids, abandoned }) => !abandoned && ids[0] === message.id)
      if (run === undefined) this.complain(`${message.id} was abandoned, and does not run`)
      else run.abandoned = true
    })
  }

  /** Kills the process in the middle of everything, and starts another one. */
  async crash(): Promise<void> {
    const { bus } = this
    this.checkUnstarted()
    if (this.random.chance(0.5)) {
      // For what has just been noted to start, end, and be settled.
      for (let round = 0; round < 4; round++) await turn()
      this.checkNotes()
    }
    this.member.die()
    this.lives++
    this.runs.clear()
    this.met.clear()
    this.releaseStubborn()
    // A broker that keeps no order may hand over what comes back beside what is newer.
    if (!this.setup.orderedRedelivery)
      for (const key of KEYS) this.unordered.add(this.setup.order === 'strict' ? '' : (key ?? ''))
    await bus.close({ timeoutMs: 0 })
    this.open()
    await this.bus.start()
  }

  get member(): ModelSubscription {
    return this.broker.member as ModelSubscription
  }

  complain(what: string): void {
    this.complaints.push(what)
  }

  // --- handlers ------------------------------------------------------------------------------------------------------

  begin(messages: readonly Message[], attempts: readonly number[]): Run {
    if (this.closed) this.complain('a handler started after close')
    let isSuspect = false
    const keys = new Set<string>()
    const before = new Set<Stored>()
    for (const [index, message] of messages.entries()) {
      const stored = this.broker.stored.find(({ id }) => id === message.id) as Stored
      isSuspect = this.checkAttempt(stored, attempts[index] ?? 0, messages.length) || isSuspect
      if (stored.out?.message.headers['delivery'] !== message.headers['delivery'])
        this.complain(`${message.id} was handled from a delivery that is no longer ours`)
      if (stored.out !== undefined) stored.out.wasStarted = true
      const [blocker] = this.setup.parks && stored.key !== undefined ? this.broker.blockersOf(stored, Infinity) : []
      if (blocker !== undefined)
        this.complain(`${stored.id} was handled, and ${blocker.stored.id} of its key is in the dead letters`)
      const key = this.broker.keyOf(stored)
      if (key !== undefined) {
        keys.add(key)
        this.checkOrder(stored, key, before)
      }
      before.add(stored)
    }
    for (const run of this.runs)
      for (const key of keys)
        if (!run.abandoned && run.keys.has(key)) this.complain(`two handlers of key "${key}" at once`)
    if (isSuspect && [...this.runs].some((run) => run.isSuspect && !run.abandoned))
      this.complain('two messages that may have killed a process run at once')
    const run = { ids: messages.map(({ id }) => id), keys, isSuspect, abandoned: false }
    this.runs.add(run)
    return run
  }

  /** True for one that may have killed the process before this one. */
  checkAttempt(stored: Stored, attempt: number, batchSize: number): boolean {
    if (attempt > stored.starts + 1)
      this.complain(`${stored.id} makes attempt ${attempt}, and its handler was started ${stored.starts} times before`)
    if (this.clock.now() < stored.dueAt - 1)
      this.complain(`${stored.id} was handled ${stored.dueAt - this.clock.now()} ms before its retry was due`)
    if (stored.acksLost > 0) this.complain(`${stored.id} was handled again, though only its ack was lost`)
    stored.starts++
    const { history } = stored
    const isFirst = !this.met.has(stored.id)
    this.met.add(stored.id)
    if (!isFirst || (history !== 'died' && history !== 'unknown')) return false
    if (stored.note?.running !== true && this.broker.weather.latencyMs === 0)
      this.complain(`${stored.id} (${history}) started without a note`)
    if (history !== 'died') return false
    if (batchSize > 1) this.complain(`${stored.id} may have killed a process and runs in a batch with others`)
    return true
  }

  checkOrder(stored: Stored, key: string, before: ReadonlySet<Stored>): void {
    const { setup, broker } = this
    if (this.scattered.has(key)) return
    if (!setup.orderedRedelivery && (setup.mode === 'delayed' || this.unordered.has(key))) return
    for (const other of broker.stored) {
      if (other.order >= stored.order) break
      if (broker.keyOf(other) !== key || before.has(other) || other.done !== undefined) continue
      // Refused as the batch began.
      const { expiresAt = Infinity } = other.change
      if (setup.batch && (other.used >= setup.attempts || expiresAt <= this.clock.now())) continue
      if (!other.through) this.complain(`${stored.id} was handled before ${other.id}`)
      // In a batch with it, what came behind stands, or is tried again with what follows.
      else if (!setup.batch && other.rejecting && other.out !== undefined)
        this.complain(`${stored.id} was handled before ${other.id} lay in the dead letters`)
    }
  }

  /** A crash costs those an attempt that are noted and have not started: no more than are about to start. */
  checkUnstarted(): void {
    const { setup, batch, broker } = this
    const unstarted = broker.unfinished.filter(({ out, note }) => out?.wasStarted === false && note?.running === true)
    const most = setup.concurrency * (setup.batch ? batch.batch.size : 1)
    if (unstarted.length > most)
      this.complain(`${unstarted.length} are noted as running and have not started, ${most} may run at once`)
  }

  /** What is noted as running runs, when all that was said has been heard. */
  checkNotes(): void {
    if (this.member.isBusy) return
    const running = new Set([...this.runs].flatMap(({ ids }) => ids))
    for (const { id, out, note } of this.broker.unfinished)
      if (out?.wasStarted === true && !out.hasOutcome && note?.running === true && !running.has(id))
        this.complain(`${id} is noted as running, and does not run`)
  }

  /** The end of a run; `through` are those whose outcome is final. */
  end(run: Run, through: readonly Message[]): void {
    // Of a process that was killed, no outcome arrives.
    if (!this.runs.delete(run) || run.abandoned) return
    for (const { id } of through) {
      const stored = this.broker.stored.find((other) => other.id === id) as Stored
      stored.through = true
    }
  }

  wait(ctx: Pick<HandlerContext, 'signal'>): Promise<void> {
    const { random, broker } = this
    return new Promise((resolve, reject) => {
      const stubborn = !this.peace && random.chance(0.08)
      if (stubborn && this.setup.timeoutMs !== undefined) {
        this.stubborn.add(resolve)
        return
      }
      if (!stubborn && random.chance(0.5)) ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason))
      broker.after(random.integer(0, this.peace ? 10 : 150), resolve)
    })
  }

  handle(message: Message, ctx: HandlerContext, life: number): unknown {
    if (life !== this.lives) return undefined
    const run = this.begin([message], [ctx.attempt])
    const { random } = this
    const fails = (): boolean => random.chance(this.peace ? 0.1 : 0.35)
    const finish = (): void => {
      if (!fails()) {
        this.end(run, [message])
        return
      }
      this.end(run, [])
      if (random.chance(0.1)) ctx.reject('no')
      if (random.chance(0.2)) ctx.retry({ delayMs: random.integer(0, 100), countAttempt: random.chance(0.5) })
      throw new Error('failed')
    }
    if (!this.peace && random.chance(0.05)) this.meddle()
    try {
      void message.data
    } catch (error) {
      this.end(run, [])
      throw error
    }
    if (random.chance(0.3)) return finish()
    return this.wait(ctx).then(finish, (error: unknown) => {
      this.end(run, [])
      throw error
    })
  }

  async handleBatch(messages: readonly Message[], ctx: BatchContext, life: number): Promise<void | BatchItemResult[]> {
    if (life !== this.lives) return
    const run = this.begin(
      messages,
      messages.map((_, index) => ctx.attempt(index)),
    )
    const { random } = this
    if (!this.peace && random.chance(0.05)) this.meddle()
    try {
      if (random.chance(0.7)) await this.wait(ctx)
      if (random.chance(this.peace ? 0.05 : 0.15)) throw new Error('the whole batch failed')
    } catch (error) {
      this.end(run, [])
      throw error
    }
    const results = messages.map(() => (random.chance(this.peace ? 0.1 : 0.3) ? new Error('failed') : undefined))
    this.end(
      run,
      messages.filter((_, index) => results[index] === undefined),
    )
    return results
  }

  // --- what happens around it ----------------------------------------------------------------------------------------

  meddle(): void {
    const { random, consumer } = this
    const action = random.integer(0, 3)
    if (action === 0) consumer.pause()
    else if (action === 1) consumer.resume()
    else consumer.limit(random.pick(['x', 'y']), random.pick([0, 1, undefined]))
  }

  async step(): Promise<void> {
    const { random, broker, member, clock, setup } = this
    if (random.chance(0.01)) broker.deleteGroup()
    if (setup.parks && random.chance(0.04)) broker.clearLetters(random.pick(['a', 'b', 'c']), random.chance(0.5))
    const action = random.integer(0, 99)
    if (action < 25) for (let count = random.integer(1, 6); count > 0; count--) this.publish()
    else if (action < 55) member.deliver(random.integer(1, 10))
    else if (action < 75) await clock.advance(random.integer(0, 60))
    else if (action < 80) {
      const key = random.pick(['a', 'b', 'c'])
      const victim = random.pick([...broker.unfinished, undefined])
      if (victim !== undefined && random.chance(0.3)) {
        // Alone, what is behind it in its key stays: whoever does that gives up the order.
        this.scattered.add(broker.keyOf(victim) ?? '')
        member.lose((stored) => stored === victim)
      } else if (this.setup.order !== 'key') member.lose((stored) => this.setup.order === 'strict' || stored === victim)
      else member.lose((stored) => stored.key === key || (stored.key === undefined && stored === victim))
    } else if (action < 84) this.meddle()
    else if (action < 88) {
      this.consumer.pause()
      if (random.chance(0.5)) this.consumer.resume()
    } else if (action < 92) {
      broker.weather.latencyMs = random.pick([0, 0, 30, 200])
      broker.weather.settleFails = random.pick([0, 0, 0.2])
      broker.weather.rejectFails = random.pick([0, 0, 0.7])
      broker.weather.readFails = random.pick([0, 0, 0.5])
    } else if (action < 95) this.releaseStubborn()
    else if (action < 97) await this.crash()
    else await turn()
    this.check()
  }

  publish(): void {
    const { random, broker, clock, setup } = this
    const key = setup.isHot && random.chance(0.7) ? 'a' : random.pick(KEYS)
    if (random.chance(0.05)) broker.publishOne(key, { expiresAt: clock.now() + 100 })
    else if (key === undefined && !setup.batch && random.chance(0.1)) broker.publishOne(key, { body: Buffer.from('{') })
    else broker.publishOne(key)
  }

  releaseStubborn(): void {
    const stubborn = [...this.stubborn]
    this.stubborn.clear()
    for (const resolve of stubborn) resolve()
  }

  check(): void {
    const { member, consumer, setup } = this
    const { unsettled: held, bufferedBytes } = consumer.stats()
    if (held > setup.prefetch) this.complain(`${held} deliveries are held, prefetch is ${setup.prefetch}`)
    if (member.credit + held > setup.prefetch)
      this.complain(`credit ${member.credit} and ${held} held: some came twice`)
    if (member.bytes + bufferedBytes > setup.prefetchBytes) this.complain('credit in bytes came back twice')
  }

  /** Nothing goes wrong any more: everything must come to its end. */
  async finish(): Promise<void> {
    this.peace = true
    Object.assign(this.broker.weather, { latencyMs: 0, settleFails: 0, rejectFails: 0, readFails: 0 })
    this.consumer.limit('x', undefined)
    this.consumer.limit('y', undefined)
    this.consumer.resume()
    this.releaseStubborn()
    for (let round = 0; round < 1_000 && this.broker.unfinished.length > 0; round++) {
      this.member.deliver(50)
      await this.clock.advance(20)
      this.check()
    }
    await this.clock.advance(1_000)
    const left = this.broker.unfinished.map(({ id, out }) => `${id}${out === undefined ? '' : ' (out)'}`)
    if (left.length > 0) this.complain(`never finished: ${left.join(', ')}`)
    const { running, buffered, bufferedBytes } = this.consumer.stats()
    if (running + buffered + bufferedBytes !== 0)
      this.complain(`idle, but ${running} run, ${buffered} and ${bufferedBytes} bytes are held`)
    if (this.member.credit !== this.setup.prefetch)
      this.complain(`credit leaked: ${this.member.credit} of ${this.setup.prefetch}`)
    if (this.member.bytes !== this.setup.prefetchBytes)
      this.complain(`credit in bytes leaked: ${this.member.bytes} of ${this.setup.prefetchBytes}`)
  }

  /** Closes it in the middle of everything, in one of the ways there are. */
  async close(timeoutMs: number | undefined): Promise<void> {
    const { bus, clock, random } = this
    const ways = timeoutMs === undefined ? [bus.close({ timeoutMs: 3_600_000 })] : [bus.close({ timeoutMs })]
    if (random.chance(0.2)) ways.unshift(this.consumer.drain())
    const ended = Promise.all(ways).then(() => {
      this.closed = true
    })
    if (timeoutMs === undefined) Object.assign(this.broker.weather, { settleFails: 0, rejectFails: 0 })
    for (let round = 0; round < 200 && !this.closed; round++) {
      if (random.chance(0.3) && this.broker.member !== undefined) this.member.deliver(3)
      this.releaseStubborn()
      await clock.advance(timeoutMs === undefined ? 500 : 20)
    }
    if (!this.closed) {
      this.complain('close never ended')
      return
    }
    await ended
    await clock.advance(0)
    const left = clock.pending - this.broker.ownTimers
    if (left !== 0) this.complain(`${left} timers are left after close`)
    this.releaseStubborn()
    await clock.advance(10_000)
    if (clock.pending - this.broker.ownTimers !== 0) this.complain('timers were set after close')
  }
}

async function play(seed: number): Promise<void> {
  const life = new Life(seed)
  const { random } = life
  await life.bus.start()
  const steps = random.integer(5, 120)
  for (let step = 0; step < steps && life.complaints.length === 0; step++) await life.step()
  if (random.chance(0.6)) await life.finish()
  await life.close(random.pick([undefined, 0, 50, 1_000]))
  expect(life.complaints, `seed ${seed}: ${JSON.stringify(life.setup)}`).toEqual([])
}

const LIVES = Number(process.env['BUSBAR_MODEL_LIVES'] ?? 1_500)

it(
  'keeps order, credit, attempts, delays and every message through anything that may happen',
  { timeout: 60_000 + LIVES * 40 },
  async () => {
    for (let seed = 1; seed <= LIVES; seed++) await play(seed)
  },
)
