import { describe, expect, test } from 'vitest'
import { seedsOf } from '../schedules.ts'
import { randomOf } from './model-cluster.ts'
import { SenderSimulation } from './sender-simulation.ts'
import type { Faults } from './sender-simulation.ts'

const NONE: Faults = {
  isIdempotent: true,
  firstEpoch: 0,
  errors: 0,
  cuts: 0,
  moves: 0,
  freezes: 0,
  restarts: 0,
  forgets: 0,
  poison: 0,
  maxRecords: 8,
}

/** A mix of faults that the seed chooses: some schedules have one kind, some all. */
function faultsOf(seed: number): Faults {
  const random = randomOf(seed + 1_000_003)
  const chance = (most: number) => (random() < 0.5 ? 0 : random() * most)
  return {
    ...NONE,
    firstEpoch: random() < 0.2 ? 32_766 : 0,
    errors: chance(0.3),
    cuts: chance(0.15),
    moves: chance(0.2),
    freezes: chance(0.05),
    restarts: chance(0.05),
    forgets: chance(0.3),
    poison: chance(0.02),
  }
}

function violationsOf(seed: number, faults: Faults): readonly string[] {
  const simulation = new SenderSimulation(seed, faults, 1 + (seed % 4))
  simulation.run(60)
  return simulation.violations.map((violation) => `seed ${seed}: ${violation}`)
}

describe('a producer against a model cluster', () => {
  test('confirms everything once and in order when nothing fails', () => {
    const simulation = new SenderSimulation(1, NONE, 3)
    simulation.run(100)
    expect(simulation.violations).toEqual([])
    expect(new Set(simulation.outcomes.values())).toEqual(new Set(['confirmed']))
  })

  test('keeps K1 to K4 and K10 over random schedules of faults', { timeout: 3_600_000 }, () => {
    for (const seed of seedsOf('sender')) expect(violationsOf(seed, faultsOf(seed))).toEqual([])
  })

  test('without numbers, loses nothing that it confirms', { timeout: 3_600_000 }, () => {
    for (const seed of seedsOf('senderWithoutNumbers')) {
      expect(violationsOf(seed, { ...faultsOf(seed), isIdempotent: false })).toEqual([])
    }
  })
})
