import { describe, expect, it } from 'vitest'
import { memoryBroker } from 'busbar/memory'
import { allScenarios } from 'busbar/testing'
import { runScenario } from '../../../src/testing/conformance/run-scenario.ts'
import { FlakyNetwork } from './flaky-memory.ts'
import type { Lies } from './flaky-memory.ts'

// The scenarios that need a broker to be hurt, or a foreign client, tried without a broker: they can pass, and they can fail.

async function run(id: string, lies: Lies = {}, patienceMs = 8_000): Promise<unknown> {
  const scenario = allScenarios.find((one) => one.id === id)
  if (scenario === undefined) throw new Error(`there is no scenario ${id}`)
  const network = new FlakyNetwork(memoryBroker(), lies)
  const environment = {
    create: network.create,
    capabilities: network.create().capabilities,
    faults: network.faults,
    foreign: network.foreign,
    childModule: undefined,
    childEnv: undefined,
    patienceMs,
    precisionMs: 500,
  }
  return (await runScenario(scenario, environment, 30_000)).error
}

const ids = allScenarios
  .filter(({ group, needs = [] }) => group === 'foreign' || needs.some((need) => need.startsWith('fault:')))
  .map(({ id }) => id)

describe('on a broker that loses its connections and comes back', () => {
  it.each(ids)('%s passes', { timeout: 60_000 }, async (id) => {
    expect(await run(id)).toBeUndefined()
  })
})

describe('the suite finds a transport that', () => {
  it.each<[string, Lies, readonly string[]]>([
    ['does not subscribe again', { staysAway: true }, ['reconnect/idle', 'reconnect/cut-under-load']],
    ['takes a cut for an ack', { forgetsUnacked: true }, ['reconnect/kill-under-load', 'reconnect/old-handlers']],
    ['lets old acks into the new session', { acksTheNewSession: true }, ['reconnect/old-settles']],
    ['says not-sent of what the broker has', { deniesWhatItStored: true }, ['reconnect/cut-mid-publish']],
    ['stores parts of a transaction', { splitsTransactions: true }, ['transactions/cut-under-load']],
    ['publishes before it acks', { publishesBeforeAck: true }, ['transactions/exactly-once-cut']],
    ['keeps quiet about it', { keepsQuiet: true }, ['reconnect/events']],
  ])('%s', { timeout: 60_000 }, async (_name, lies, caughtBy) => {
    for (const id of caughtBy) expect(await run(id, lies, 1_500), `${id} must fail`).toBeDefined()
  })
})
