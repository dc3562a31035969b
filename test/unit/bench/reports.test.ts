import { describe, expect, it } from 'vitest'
import { parseCaseOutput } from '../../../bench/harness/case-output.ts'
import { parseBenchArguments, UsageError } from '../../../bench/runner/arguments.ts'
import { summarizeProfile } from '../../../bench/runner/profile-summary.ts'

describe('parseBenchArguments', () => {
  it('takes suites and options, and has defaults', () => {
    expect(parseBenchArguments([])).toMatchObject({ suites: ['memory', 'sqlite'], quick: false, json: false })
    expect(parseBenchArguments(['redis', 'memory', '--quick', '--case', 'bytes', '--rounds', '2'])).toMatchObject({
      suites: ['memory', 'redis'],
      quick: true,
      only: 'bytes',
      rounds: 2,
    })
  })

  it('runs nothing when only the page is to be written', () => {
    expect(parseBenchArguments(['--write-docs']).suites).toEqual([])
  })

  it.each([
    [['oracle']],
    [['--fast']],
    [['redis', '--write-docs', '--case', 'x']],
    [['--rounds', '0']],
    [['--rounds', 'many']],
  ])('refuses %j', (argv) => {
    expect(() => parseBenchArguments(argv)).toThrow(UsageError)
  })
})

describe('parseCaseOutput', () => {
  it('reads the last line', () => {
    const text = 'a warning\n{"messages":2,"seconds":1,"cpuMicros":3,"rssMb":4}\n'
    expect(parseCaseOutput(text)).toEqual({ messages: 2, seconds: 1, cpuMicros: 3, rssMb: 4 })
  })

  it.each(['', 'no figures\n', '{"messages":2}\n', '{"messages":null,"seconds":1,"cpuMicros":3,"rssMb":4}\n'])(
    'has nothing for %j',
    (text) => {
      expect(parseCaseOutput(text)).toBeUndefined()
    },
  )
})

describe('summarizeProfile', () => {
  it('adds up self time by function and leaves idle time out', () => {
    const frame = (functionName: string) => ({ functionName, url: 'file:///x/src/core/bus.ts', lineNumber: 9 })
    const summary = summarizeProfile({
      nodes: [
        { id: 1, callFrame: { functionName: '(idle)', url: '', lineNumber: -1 } },
        { id: 2, callFrame: frame('send') },
        { id: 3, callFrame: frame('send') },
        { id: 4, callFrame: frame('flush') },
      ],
      samples: [1, 2, 3, 4, 2],
      timeDeltas: [100, 10, 20, 20, 30],
    })
    expect(summary).toEqual([
      { name: 'send', place: 'src/core/bus.ts:10', selfMicros: 60, share: 0.75 },
      { name: 'flush', place: 'src/core/bus.ts:10', selfMicros: 20, share: 0.25 },
    ])
  })
})
