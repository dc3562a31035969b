import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ConfigurationError } from 'busbar'
import { memory } from 'busbar/memory'
import { allScenarios, conformance } from 'busbar/testing'
import type { ConformanceReport, Runner, Scenario } from 'busbar/testing'
import { registerScenarios } from '../../../src/testing/conformance/conformance.ts'

/** A runner that keeps what it is given, and runs it when told. */
function fakeRunner() {
  const hooks: { before: (() => Promise<void>)[]; after: (() => Promise<void>)[] } = { before: [], after: [] }
  const tests: { name: string; options: Parameters<Runner['it']>[1]; body: Parameters<Runner['it']>[2] }[] = []
  const runner: Runner = {
    describe: (_name, body) => body(),
    it: (name, options, body) => void tests.push({ name, options, body }),
    beforeAll: (body) => void hooks.before.push(body),
    afterAll: (body) => void hooks.after.push(body),
  }
  const run = async (only: (name: string) => boolean = () => true) => {
    const outcomes: Record<string, string> = {}
    for (const hook of hooks.before) await hook()
    for (const { name, body } of tests.filter((test) => only(test.name))) {
      const id = name.split(' · ')[0] ?? name
      outcomes[id] = 'passed'
      try {
        await body({ skip: (reason) => (outcomes[id] = `skipped, ${reason}`) })
      } catch (error) {
        outcomes[id] = `failed, ${(error as Error).message}`
      }
    }
    for (const hook of hooks.after) await hook()
    return outcomes
  }
  return { runner, tests, run }
}

function scenario(id: string, run: Scenario['run'], more: Partial<Scenario> = {}): Scenario {
  return { id, group: 'publish', invariant: 1, title: `title of ${id}`, run, ...more }
}

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'busbar-report-'))
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

const report = (): ConformanceReport => JSON.parse(readFileSync(join(folder, 'mine.json'), 'utf8')) as ConformanceReport

describe('conformance', () => {
  const scenarios = [
    scenario('publish/good', async () => undefined),
    scenario('publish/bad', () => Promise.reject(new Error('it lied'))),
    scenario('publish/known', () => Promise.reject(new Error('must not run'))),
    scenario('publish/no-hook', () => Promise.reject(new Error('must not run')), {
      needs: ['fault:killBroker', 'durable'],
    }),
  ]
  const options = () => ({
    name: 'mine',
    version: '1.2.3',
    create: () => memory(),
    exceptions: { 'publish/known': 'the broker can not' },
    report: folder,
  })

  it('reports to the runner and the report what became of each scenario, and why', async () => {
    const { runner, run } = fakeRunner()
    registerScenarios(scenarios, runner, options())
    expect(await run()).toEqual({
      'publish/good': 'passed',
      'publish/bad': 'failed, it lied',
      'publish/known': 'skipped, exception: the broker can not',
      'publish/no-hook':
        'skipped, not applicable: there is no broker to do it to, or no hook for it was given to conformance(): faults.killBroker; the transport has no capability "durable"',
    })
    const written = report()
    expect(written).toMatchObject({ transport: 'mine', version: '1.2.3', system: 'memory' })
    expect(written.capabilities.groups).toBe(true)
    expect(written.scenarios.map(({ id, status, reason }) => [id, status, reason])).toEqual([
      ['publish/good', 'passed', undefined],
      ['publish/bad', 'failed', 'it lied'],
      ['publish/known', 'exception', 'the broker can not'],
      ['publish/no-hook', 'not-applicable', expect.stringContaining('killBroker')],
    ])
    expect(written.scenarios[0]).toMatchObject({ group: 'publish', invariant: 1, title: 'title of publish/good' })
  })

  it('does not replace a report by that of a filtered run', async () => {
    const { runner, run } = fakeRunner()
    registerScenarios(scenarios, runner, options())
    await run((name) => name.startsWith('publish/good'))
    expect(existsSync(join(folder, 'mine.json'))).toBe(false)
  })

  it('refuses exceptions without a scenario and without a reason', () => {
    const { runner } = fakeRunner()
    const wrong = { ...options(), exceptions: { 'publish/gone': 'x', 'publish/envelope': ' ' } }
    expect(() => conformance(runner, wrong)).toThrow(ConfigurationError)
    expect(() => conformance(runner, wrong)).toThrow(
      /publish\/gone: is not a known scenario[^]*publish\/envelope: needs a reason/,
    )
  })

  it('adds those that wait last, to be run side by side', () => {
    const { runner, tests } = fakeRunner()
    const some = [
      scenario('publish/waits', async () => undefined, { waits: true }),
      scenario('publish/works', async () => undefined),
    ]
    registerScenarios(some, runner, { ...options(), exceptions: {} })
    expect(tests.map(({ name, options: { concurrent } }) => [name.split(' ')[0], concurrent])).toEqual([
      ['publish/works', false],
      ['publish/waits', true],
    ])
  })

  it('has only scenarios that leave the broker and the process alone side by side', () => {
    const waiting = allScenarios.filter(({ waits }) => waits)
    expect(waiting.length).toBeGreaterThan(5)
    for (const { id, needs = [] } of waiting)
      expect(
        needs.filter((need) => need.startsWith('fault:')),
        id,
      ).toEqual([])
  })

  it('ends a scenario that hangs, and one that leaves something hanging', async () => {
    const { runner, run } = fakeRunner()
    const hanging = [
      scenario('publish/hangs', () => new Promise(() => undefined)),
      scenario('publish/litters', async (ctx) => ctx.defer(() => new Promise(() => undefined))),
      scenario('publish/after', async () => undefined),
    ]
    registerScenarios(hanging, runner, { ...options(), exceptions: {}, scenarioTimeoutMs: 50 })
    expect(await run()).toEqual({
      'publish/hangs': 'failed, publish/hangs did not end within 50 ms',
      'publish/litters': 'failed, the clean-up of publish/litters did not end within 50 ms',
      'publish/after': 'passed',
    })
  })

  it('blames a scenario for unhandled rejections while it ran', async () => {
    const { runner, run } = fakeRunner()
    const stray = [
      scenario('publish/stray', async () => void Promise.reject(new Error('nobody looks'))),
      scenario('publish/after', async () => undefined),
    ]
    registerScenarios(stray, runner, { ...options(), exceptions: {} })
    const outcomes = await run()
    expect(outcomes['publish/stray']).toMatch(/^failed, Unhandled rejection/)
    expect(outcomes['publish/after']).toBe('passed')
  })

  it('has scenarios with unique ids for every group and for every invariant', () => {
    const ids = allScenarios.map(({ id }) => id)
    expect(new Set(ids).size).toBe(ids.length)
    for (const { id, group } of allScenarios) expect(id.startsWith(`${group}/`), id).toBe(true)
    const invariants = new Set(allScenarios.map(({ invariant }) => invariant))
    expect([...invariants].sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])
  })

  it('runs under node:test as well', { timeout: 60_000 }, async () => {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [
        '--conditions=busbar-source',
        '--test-reporter=tap',
        '--test-name-pattern=^publish/',
        '--test',
        fileURLToPath(new URL('./fixtures/node-test-suite.ts', import.meta.url)),
      ],
      { env: { ...process.env, NODE_TEST_CONTEXT: undefined } },
    )
    const ofGroup = allScenarios.filter(({ group }) => group === 'publish').length
    expect(stdout).toMatch(/^# fail 0$/m)
    expect(stdout).toMatch(new RegExp(`^# tests ${ofGroup}$`, 'm'))
    expect(stdout).toMatch(/publish\/dedup .*# SKIP not applicable: the transport has no capability "publishDedup"/)
  })
})
