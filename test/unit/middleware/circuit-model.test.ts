import { describe, expect, it } from 'vitest'
import { Circuit } from '../../../src/middleware/circuit.ts'
import type { CallResult, CircuitMember, CircuitState } from '../../../src/middleware/circuit.ts'
import { manualClock } from '../../../src/testing/manual-clock.ts'
import { seededRandom } from '../../../src/testing/random.ts'
import { fakeConsumer } from './fake-context.ts'
import type { FakeConsumer } from './fake-context.ts'

interface Running {
  readonly member: CircuitMember
  readonly generation: number
}

const WINDOW_MS = 100
const RESET_MS = 50
const FAILURES = 4
const NEXT_STATES: Readonly<Record<CircuitState, readonly CircuitState[]>> = {
  closed: ['open'],
  open: ['half-open'],
  'half-open': ['open', 'closed'],
}

describe('Circuit, against a model that remembers everything', () => {
  it.each(Array.from({ length: 60 }, (_, seed) => seed))('seed %i', async (seed) => {
    const random = seededRandom(`circuit ${seed}`)
    const permits = random.integer(1, 3)
    const clock = manualClock()
    const changes: CircuitState[] = []
    let failures: number[] = []
    let openedAt = 0
    /** Calls let through in the current state, and those of them that have not ended. */
    let current = new Set<Running>()
    const circuit = new Circuit({
      reason: 'r',
      limit: { windowMs: WINDOW_MS, failures: FAILURES },
      resetTimeoutMs: RESET_MS,
      permits,
      changed(to, from) {
        expect(NEXT_STATES[from]).toContain(to)
        if (to === 'half-open') expect(clock.monotonic()).toBe(openedAt + RESET_MS)
        changes.push(to)
        failures = []
        current = new Set()
        if (to === 'open') openedAt = clock.monotonic()
      },
    })
    const consumers: FakeConsumer[] = [fakeConsumer('a'), fakeConsumer('b'), fakeConsumer('c')]
    const members = consumers.map((consumer) => circuit.join(consumer))
    const running = new Set<Running>()
    /** So that runs reach every state: mostly broken and mostly well by turns. */
    let sick = true

    const start = (): void => {
      const member = random.pick(members)
      const { state } = circuit
      const allowed = state === 'closed' || (state === 'half-open' && current.size < permits)
      const generation = circuit.enter(member)
      expect(generation !== undefined).toBe(allowed)
      if (generation === undefined) return
      const call = { member, generation }
      running.add(call)
      current.add(call)
    }

    const end = (): void => {
      const call = random.pick([...running])
      const ill: CallResult = random.chance(0.9) ? 'failure' : 'success'
      const well: CallResult = random.chance(0.9) ? 'success' : 'failure'
      const result: CallResult = random.chance(0.15) ? 'neutral' : sick ? ill : well
      const { state } = circuit
      const counts = current.has(call)
      running.delete(call)
      if (counts && state === 'closed' && result === 'failure') {
        failures.push(clock.monotonic())
        failures = failures.filter((at) => clock.monotonic() - at < WINDOW_MS)
      }
      const recent = failures.length
      current.delete(call)
      circuit.leave(call.member, call.generation, result, clock)
      let expected: CircuitState = state
      if (counts && state === 'closed' && recent >= FAILURES) expected = 'open'
      if (counts && state === 'half-open' && result !== 'neutral') expected = result === 'success' ? 'closed' : 'open'
      expect(circuit.state).toBe(expected)
    }

    const checkCaps = (): void => {
      for (const [index, consumer] of consumers.entries()) {
        const mine = [...running].filter((call) => call.member === members[index]).length
        const left = circuit.state === 'half-open' ? permits - current.size : 0
        const expected = circuit.state === 'closed' ? undefined : left === 0 ? 0 : mine + left
        expect(consumer.caps.get('r')).toBe(expected)
      }
    }

    for (let step = 0; step < 600; step++) {
      if (random.chance(0.02)) sick = !sick
      const dice = random.next()
      if (dice < 0.45) start()
      else if (dice < 0.9 && running.size > 0) end()
      else await clock.advance(random.integer(0, 30))
      checkCaps()
    }
    // A run that never left `closed` would have shown nothing.
    expect(new Set(changes)).toEqual(new Set(['open', 'half-open', 'closed']))
    for (const consumer of consumers) {
      for (const [index, [, cap]] of consumer.calls.entries()) {
        if (index > 0) expect(cap).not.toBe(consumer.calls[index - 1]?.[1])
      }
    }
  })
})
