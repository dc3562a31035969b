import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { allScenarios } from '../../../src/testing/conformance/all-scenarios.ts'

it('each invariant of DESIGN.md has scenarios, and each scenario an invariant', () => {
  const design = readFileSync(join(import.meta.dirname, '../../../DESIGN.md'), 'utf8')
  const section = design.split(/^## /m).find((text) => text.startsWith('Invariants\n')) ?? ''
  const promised = [...section.matchAll(/^(\d+)\. /gm)].map(([, number]) => Number(number))
  expect(promised.length).toBeGreaterThan(0)
  const tested = [...new Set(allScenarios.map(({ invariant }) => invariant))]
  expect(tested.sort((a, b) => a - b)).toEqual(promised)
})
