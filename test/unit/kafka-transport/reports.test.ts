import { expect, it } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { TransportHost } from '../../../src/core/transport.ts'
import { Reports } from '../../../src/transports/kafka/reports.ts'

it('warns of the first of a kind, says that there are more, and repeats none', () => {
  const warnings: string[] = []
  const emit = (_name: string, { detail }: { readonly detail: string }) => void warnings.push(detail)
  const reports = new Reports({ name: 'main', clock: manualClock(), events: { emit } } as unknown as TransportHost)
  for (let round = 0; round < 2; round++)
    for (let topic = 0; topic < 1_000; topic++) reports.warnOnce('replication-1', `topic ${topic} has one replica`)
  expect(warnings).toHaveLength(21)
  expect(warnings[19]).toBe('topic 19 has one replica')
  expect(warnings[20]).toContain('There are more')
  reports.warnOnce('foreign-commit', 'another kind')
  expect(warnings).toHaveLength(22)
})
