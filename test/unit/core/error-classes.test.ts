import { describe, expect, it } from 'vitest'
import * as errors from '../../../src/core/errors.ts'

const { BusbarError, ConfigurationError, PublishError } = errors

const samples: readonly errors.BusbarError[] = [
  new ConfigurationError('x', []),
  new PublishError('x', { outcome: 'unknown' }),
  ...Object.values(errors)
    .filter((value) => value !== BusbarError && value !== ConfigurationError && value !== PublishError)
    .map((Class) => new (Class as typeof errors.TimeoutError)('x')),
]

describe('error classes', () => {
  it.each(samples.map((sample) => [sample.name, sample] as const))(
    '%s.is knows its own class and no other',
    (name, sample) => {
      expect(BusbarError.is(sample)).toBe(true)
      const knowing = Object.entries(errors).filter(([, Class]) => Class.is(sample))
      expect(knowing.map(([className]) => className).sort()).toEqual(['BusbarError', name].sort())
    },
  )

  it('covers every class that there is', () => {
    expect(samples).toHaveLength(Object.keys(errors).length - 1)
    expect(new Set(samples.map((sample) => sample.code)).size).toBe(samples.length)
  })

  it.each([[undefined], [null], [new Error('x')], [{ code: 'BUSBAR_TIMEOUT' }], ['BUSBAR_TIMEOUT']])(
    '%j is none',
    (value) => {
      for (const Class of Object.values(errors)) expect(Class.is(value)).toBe(false)
    },
  )
})
