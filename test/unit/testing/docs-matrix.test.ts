import { describe, expect, it } from 'vitest'
import { memory } from 'busbar/memory'
import type { ConformanceReport, ScenarioResult } from 'busbar/testing'
import { summarize, updatePage, updateRows } from '../../../tools/docs-matrix.ts'

const EMPTY = `# Page

<!-- matrix: begin; written by \`npm run docs:matrix\`, not by hand -->
<!-- matrix: end -->

after
`

function report(transport: string, results: readonly Partial<ScenarioResult>[], durable = true): ConformanceReport {
  return {
    transport,
    version: transport === 'memory' ? undefined : '7.2',
    system: transport,
    capabilities: { ...memory().capabilities, durable, maxMessageBytes: 1_000_000 },
    durationMs: Math.random() * 1_000,
    scenarios: results.map((result, index) => ({
      id: `publish/s${index}`,
      group: 'publish',
      invariant: 1,
      title: 't',
      status: 'passed',
      durationMs: Math.random() * 1_000,
      ...result,
    })),
  }
}

const page = (...reports: readonly ConformanceReport[]): string => updatePage(EMPTY, reports.map(summarize))

describe('docs:matrix', () => {
  it('makes a table of what transports claim and one of what was tried', () => {
    const text = page(
      report('redis', [{}, {}, { status: 'exception', reason: 'trims | headers' }]),
      report(
        'memory',
        [{}, { status: 'not-applicable', reason: 'no `durable`' }, { group: 'delay', id: 'delay/x' }],
        false,
      ),
    )
    expect(text).toContain('|  | memory | redis 7.2 |')
    expect(text).toContain('| Durable | no | yes |')
    expect(text).toContain('| Replay | by position and time | by position and time |')
    expect(text).toContain('| Largest message | 976.6 KiB | 976.6 KiB |')
    expect(text).toContain('| publish | 1 of 1, 1 not applicable | 2 of 3, 1 excepted |')
    expect(text).toContain('| delay | 1 of 1 | - |')
    expect(text).toContain('- exception: trims \\| headers (`publish/s2`)')
    expect(text).toContain('- not applicable: no `durable` (`publish/s1`)')
    expect(text.startsWith('# Page\n')).toBe(true)
    expect(text.endsWith('\nafter\n')).toBe(true)
  })

  it('writes the same page for the same results, whatever the run took', () => {
    const results = [{}, { status: 'exception' as const, reason: 'x' }]
    const first = page(report('redis', results))
    expect(page(report('redis', results))).toBe(first)
    expect(updatePage(first, [summarize(report('redis', results))])).toBe(first)
  })

  it('keeps the columns of transports that were not run, and replaces those that were', () => {
    const both = page(report('redis', [{}, {}]), report('kafka', [{}]))
    const later = updatePage(both, [summarize(report('kafka', [{}, {}, {}], false))])
    expect(later).toContain('| publish | 3 of 3 | 2 of 2 |')
    expect(later).toContain('| Durable | no | yes |')
  })

  it('survives a reason that looks like the end of a comment', () => {
    const reason = 'it answered <!-- x -->'
    const text = page(report('redis', [{ status: 'exception', reason }]))
    expect(updatePage(text, [])).toBe(text)
    expect(text).toContain(`- exception: ${reason}`)
  })

  it('writes the row of each transport that a page has markers for', () => {
    const summaries = [report('nats', [{}]), report('nats-core', [{}], false), report('redis', [{}])].map(summarize)
    const marks = (name: string): string => `<!-- capabilities:${name} begin -->\n<!-- capabilities:${name} end -->\n`
    const text = updateRows(`# NATS\n${marks('nats')}${marks('nats-core')}`, summaries)
    expect(text).toMatch(/nats begin -->\n\n\| Durable \|.*\n\|---.*\n\| yes \|/)
    expect(text).toMatch(/nats-core begin -->\n\n\| Durable \|.*\n\|---.*\n\| no \|/)
    expect(updateRows(text, summaries)).toBe(text)
    expect(updateRows('# Memory\n', summaries)).toBe('# Memory\n')
  })

  it('refuses a page without the markers', () => {
    expect(() => updatePage('# Page', [])).toThrow(/needs the two lines/)
  })
})
