import assert from 'node:assert/strict'
import { PublishError } from '../../core/errors.ts'
import type { ScenarioContext } from './context.ts'
import type { Scenario } from './scenario.ts'
import { numbered, work } from './shorthand.ts'
import { cause, FAULTS_UNDER_LOAD } from './under-load.ts'

const group = 'transactions'
const invariant = 16

/** Transactions while connections and the broker fail. */
export const transactionFaultScenarios: readonly Scenario[] = FAULTS_UNDER_LOAD.flatMap(
  ({ name, title, need, times }): Scenario[] => [
    {
      id: `transactions/${name}-under-load`,
      group,
      invariant,
      title: `${title}: each transaction settles, and all of its messages are handled, or none, as its error says`,
      needs: [need, 'transactions', 'durable', 'redelivery'],
      run: (ctx) => transactionsUnderLoad(ctx, () => cause(ctx, need), times),
    },
    {
      id: `transactions/exactly-once-${name}`,
      group,
      invariant,
      title: `exactly once: ${title}; each input has one output`,
      needs: [need, 'publish-on-ack', 'durable', 'redelivery', 'lag'],
      run: (ctx) => exactlyOnceUnderLoad(ctx, () => cause(ctx, need), times),
    },
  ],
)

const SIZE = 3
const AT_ONCE = 4
/** Inputs that wait at most: what is left after the faults must be handled within a limit, however slow the machine. */
const MOST_AHEAD = 100

type Fate = 'committed' | 'not-sent' | 'unknown'

async function transactionsUnderLoad(ctx: ScenarioContext, fault: () => Promise<void>, times: number): Promise<void> {
  const [bus, one, two, probe] = [await ctx.bus(), ctx.topic('one'), ctx.topic('two'), ctx.probe()]
  ctx.consume(bus, one, probe.handler())
  ctx.consume(bus, two, probe.handler())
  await bus.start()
  const publisher = await ctx.startedBus({ publish: { deliveryTimeoutMs: ctx.patienceMs } })
  const fates = new Map<string, Fate>()
  const until = new AbortController()
  let next = 0
  const count = (fate: Fate): number => [...fates.values()].filter((one) => one === fate).length
  const flow = async (): Promise<void> => {
    while (!until.signal.aborted) {
      const name = `${ctx.service}-${next++}`
      try {
        await publisher.transaction(async (tx) => {
          for (let part = 0; part < SIZE; part++)
            await tx.publish(part % 2 === 0 ? one : two, part, { id: `${name}.${part}`, key: name })
        })
        fates.set(name, 'committed')
      } catch (error) {
        if (!PublishError.is(error)) throw error
        fates.set(name, error.outcome)
      }
      await work(1)
    }
  }
  const flowing = Promise.all(Array.from({ length: AT_ONCE }, flow))
  const commits = async (more: number): Promise<void> => {
    const before = count('committed')
    await ctx.waitUntil(
      () => count('committed') >= before + more,
      () => `${count('committed') - before} of ${more} committed; ${count('unknown')} unknown`,
    )
  }
  try {
    await commits(20)
    for (let time = 0; time < times; time++) {
      await fault()
      await commits(20)
    }
  } finally {
    until.abort()
    await flowing
  }
  const partsHandled = (): Map<string, Set<string>> => {
    const parts = new Map<string, Set<string>>()
    for (const id of probe.ids()) {
      const at = id.lastIndexOf('.')
      const name = id.slice(0, at)
      parts.set(name, (parts.get(name) ?? new Set()).add(id.slice(at)))
    }
    return parts
  }
  await ctx.waitUntil(
    () => {
      const parts = partsHandled()
      return [...fates].every(([name, fate]) => fate !== 'committed' || parts.get(name)?.size === SIZE)
    },
    () => `${partsHandled().size} handled of ${count('committed')} committed`,
  )
  await ctx.idle(bus, one, ctx.service)
  await ctx.idle(bus, two, ctx.service)
  for (const [name, parts] of partsHandled()) {
    assert.equal(parts.size, SIZE, `transaction ${name} (${fates.get(name)}) must be handled as a whole`)
    assert.notEqual(fates.get(name), 'not-sent', `transaction ${name} is said not to be stored, and was handled`)
  }
}

async function exactlyOnceUnderLoad(ctx: ScenarioContext, fault: () => Promise<void>, times: number): Promise<void> {
  const [inputs, outputs] = [ctx.topic('inputs'), ctx.topic('outputs')]
  const bus = await ctx.bus()
  const probe = ctx.probe(async (message, handler) => {
    await work(2)
    // Ids of their own: a broker that stores an id once must not hide a second output.
    await handler.publish(outputs, message.data, { key: message.key })
  })
  ctx.consume(bus, inputs, probe.handler(), { guarantee: 'exactly-once', concurrency: 4, prefetch: 32 })
  await bus.start()
  const publisher = await ctx.startedBus({ publish: { deliveryTimeoutMs: ctx.patienceMs } })
  await publisher.admin().ensureTopic(outputs)
  const inputIds: string[] = []
  const until = new AbortController()
  const flow = async (): Promise<void> => {
    for (let number = 0; !until.signal.aborted; number += 10) {
      const items = numbered(10, 4).map((item, index) => ({ ...item, data: `${ctx.service}-${number + index}` }))
      const results = await publisher.publishMany(inputs, items, { allowFailures: true })
      // What was refused, or perhaps was not, is no input to be counted on.
      for (const [index, { error }] of results.entries())
        if (error === undefined) inputIds.push(items[index]?.data ?? '')
      do await work(10)
      while (inputIds.length - probe.handled.length > MOST_AHEAD && !until.signal.aborted)
    }
  }
  const flowing = flow()
  const goesOn = async (): Promise<void> => {
    const before = probe.handled.length
    await ctx.waitUntil(
      () => probe.handled.length > before + 40,
      () => `${probe.handled.length - before} of 40 handled`,
    )
  }
  try {
    await goesOn()
    for (let time = 0; time < times; time++) {
      await fault()
      await goesOn()
    }
  } finally {
    until.abort()
    await flowing
  }
  await ctx.idle(bus, inputs, ctx.service)
  // Read after all faults: the outputs themselves are what is counted, not how often they are delivered.
  const reader = await ctx.bus({ service: ctx.group('reader') })
  const seen = new Map<string, string>()
  const twice: string[] = []
  ctx.consume(
    reader,
    outputs,
    ({ id, data }) => {
      const value = data as string
      if (seen.has(value) && seen.get(value) !== id) twice.push(value)
      seen.set(value, id)
    },
    { from: 'earliest' },
  )
  await reader.start()
  await ctx.waitUntil(
    () => inputIds.every((value) => seen.has(value)),
    () => `${seen.size} outputs of ${inputIds.length} inputs`,
  )
  await ctx.idle(reader, outputs, reader.service)
  assert.deepEqual(twice, [], 'no input may have two outputs')
}
