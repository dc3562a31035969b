import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { check } from '../../soak/chaos/check.ts'
import { report } from '../../soak/chaos/report.ts'
import type { Fault, Seen, Sent, Story } from '../../soak/chaos/story.ts'

const BEGIN = 1_000_000

/** Three messages of one key and one without, each handled once by the only member of the only group. */
function story(change: Partial<Story> = {}): Story {
  return {
    groups: ['g'],
    ordered: ['g'],
    sent: [sent('a', 0), sent('b', 10), sent('c', 20), sent('x', 30, { key: undefined })],
    seen: [...handled('a', 100), ...handled('b', 120), ...handled('c', 140), ...handled('x', 90)],
    faults: [],
    letters: [],
    redrivenAt: BEGIN + 10_000,
    lag: { g: 0 },
    unwell: [],
    lateMs: 1_000,
    ...change,
  }
}

function sent(id: string, at: number, change: Partial<Sent> = {}): Sent {
  const times = { at: BEGIN + at, settledAt: BEGIN + at + 5 }
  return { id, key: 'k', kind: 'plain', delayMs: 0, fate: 'confirmed', ...times, ...change }
}

function step(type: Seen['type'], id: string, at: number, attempt = 1, member = 'm1'): Seen {
  return { type, id, at: BEGIN + at, attempt, group: 'g', member }
}

/** Start, end and ack, 5 ms apart. */
function handled(id: string, at: number, attempt = 1, member = 'm1'): readonly Seen[] {
  return [
    step('start', id, at, attempt, member),
    step('done', id, at + 5, attempt, member),
    step('acked', id, at + 10, attempt, member),
  ]
}

const fault = (kind: string, target: string, at: number, until: number): Fault => ({
  kind,
  target,
  severs: kind === 'cut',
  at: BEGIN + at,
  until: BEGIN + until,
})

const found = (change: Partial<Story>): readonly string[] =>
  check(story(change)).map(({ kind, id }) => (id === undefined ? kind : `${kind} ${id}`))

describe('what the chaos soak accepts and what not', () => {
  test('a story in which each message is handled once is fine', () => {
    assert.deepEqual(found({}), [])
  })

  test('a confirmed message that no handler finished is lost, and stuck when the broker still holds it', () => {
    const seen = story().seen.filter(({ id }) => id !== 'b')
    assert.deepEqual(found({ seen }), ['lost b'])
    assert.deepEqual(found({ seen, lag: { g: 1 } }), ['stuck b'])
    // Begun is not finished.
    assert.deepEqual(found({ seen: [...seen, step('start', 'b', 120)] }), ['lost b'])
    // In one group and not in the other.
    assert.deepEqual(found({ groups: ['g', 'h'] }), ['lost a', 'lost b', 'lost c', 'lost x'])
  })

  test('one of which the publisher does not know may be there or not; one that was not sent may not', () => {
    const without = story().seen.filter(({ id }) => id !== 'b')
    const unknown = story().sent.map((entry) => (entry.id === 'b' ? { ...entry, fate: 'unknown' as const } : entry))
    assert.deepEqual(found({ sent: unknown, seen: without }), [])
    assert.deepEqual(found({ sent: unknown }), [])
    const refused = unknown.map((entry) => (entry.id === 'b' ? { ...entry, fate: 'not-sent' as const } : entry))
    assert.deepEqual(found({ sent: refused }), ['impossible b'])
    assert.deepEqual(found({ seen: [...story().seen, ...handled('ghost', 200)] }), ['impossible ghost'])
  })

  test('attempts of several members within one millisecond are in order', () => {
    const others = story().seen.filter(({ id }) => id !== 'x')
    const members = ['m1', 'm2', 'm3']
    const starts = members.map((member, index) => step('start', 'x', 90, index + 1, member))
    const end = [step('done', 'x', 90, 3, 'm3'), step('acked', 'x', 90, 3, 'm3')]
    // Each member reports for itself.
    assert.deepEqual(found({ seen: [...others, ...starts.slice(2), ...end, ...starts.slice(0, 2)] }), [])
    assert.deepEqual(found({ seen: [...others, ...starts, ...end, step('start', 'x', 90, 4, 'm1')] }), ['returned x'])
    assert.deepEqual(found({ seen: [...others, ...starts, ...end, step('start', 'x', 91, 3, 'm1')] }), ['returned x'])
  })

  test('a message that starts before an earlier one of its key has ended is out of order', () => {
    const [a, b, c, x] = ['a', 'b', 'c', 'x'].map((id) => story().seen.filter((seen) => seen.id === id)) as [
      Seen[],
      Seen[],
      Seen[],
      Seen[],
    ]
    assert.deepEqual(found({ seen: [...a, ...x, ...c, ...handled('b', 200)] }), ['disorder c'])
    // It starts while the one before it still runs.
    const overlapping = [step('start', 'b', 120), step('done', 'b', 141), step('acked', 'b', 142)]
    assert.deepEqual(found({ seen: [...a, ...overlapping, ...c, ...x] }), ['disorder c'])
    // It comes again later, which is no matter: the first time counts.
    assert.deepEqual(
      found({ seen: [...a, ...b, step('start', 'a', 130, 2), ...c, ...x], faults: [fault('cut', 'm1', 100, 130)] }),
      [],
    )
    // A refused one is as good as ended.
    const refused = { ...sent('b', 10, { kind: 'poison' as const }) }
    const [first, , third, last] = story().sent as [Sent, Sent, Sent, Sent]
    const poisoned = [step('start', 'b', 120), step('rejected', 'b', 125), ...handled('b', 11_000)]
    assert.deepEqual(found({ sent: [first, refused, third, last], seen: [...a, ...poisoned, ...c, ...x] }), [])
    // Nobody promised an order in such a group.
    assert.deepEqual(found({ ordered: [], seen: [...a, ...x, ...c, ...handled('b', 200)] }), [])
  })

  test('attempts never go down, but for what was redriven', () => {
    const again = (attempt: number, at = 300): readonly Seen[] => [
      ...[1, 2].map((tried) => step('start', 'x', 50 + tried, tried)),
      step('start', 'x', at, attempt),
      step('done', 'x', at + 5, attempt),
    ]
    const rest = story().seen.filter(({ id }) => id !== 'x')
    assert.deepEqual(found({ seen: [...rest, ...again(3)] }), [])
    assert.deepEqual(found({ seen: [...rest, ...again(1)] }), ['attempts x'])
    // A note of a member that was cut off may be lost, that of one that was closed may not.
    const after = (kind: string, member: string): readonly string[] =>
      found({ seen: [...rest, ...again(1)], faults: [fault(kind, member, 51, 80)] })
    assert.deepEqual(after('cut', 'm1'), [])
    assert.deepEqual(after('cut', 'm2'), ['attempts x'])
    assert.deepEqual(after('close', 'm1'), ['attempts x'])
    // What it knew when the broker was back, it had time to note: an attempt does not start before its note is stored.
    const broker = (until: number): readonly string[] =>
      found({
        seen: [...rest, ...again(1, 9_000)],
        faults: [{ ...fault('broker killed', 'broker', -9_000, until), severs: true }],
      })
    assert.deepEqual(broker(52), [])
    assert.deepEqual(broker(51), ['attempts x'])
    // One that was frozen comes back with what it held before.
    const elsewhere = [step('start', 'x', 60, 2, 'm2'), step('start', 'x', 300, 1), step('done', 'x', 305, 1)]
    assert.deepEqual(found({ seen: [...rest, ...elsewhere] }), ['attempts x'])
    assert.deepEqual(found({ seen: [...rest, ...elsewhere], faults: [fault('freeze', 'm1', 50, 290)] }), [])
    const poison = story().sent.map((entry) => (entry.id === 'x' ? { ...entry, kind: 'poison' as const } : entry))
    assert.deepEqual(found({ sent: poison, seen: [...rest, ...again(1, 11_000)] }), [])
  })

  test('what was acked comes back only after a fault that explains it', () => {
    const seen = [...story().seen, step('start', 'a', 5_000, 2)]
    const faults = (...all: readonly Fault[]): readonly string[] => found({ seen, faults: all })
    assert.deepEqual(faults(), ['returned a'])
    assert.deepEqual(faults(fault('freeze', 'm1', 90, 4_900)), [])
    assert.deepEqual(faults(fault('freeze', 'm2', 90, 4_900)), ['returned a'])
    assert.deepEqual(faults(fault('broker killed', 'broker', 1_000, 1_500)), [])
    assert.deepEqual(faults(fault('cut', 'm1', 6_000, 6_000)), ['returned a'])
  })

  test('a member that wakes up may ack what another is about to start', () => {
    const late = (id: string, start: number, until = 89): readonly string[] =>
      found({
        seen: [...story().seen, step('start', id, start, 1, 'm2')],
        faults: [fault('freeze', 'm1', 50, until)],
      })
    assert.deepEqual(late('x', 120), [])
    assert.deepEqual(late('x', 3_000), ['returned x'])
    assert.deepEqual(late('a', 120), ['returned a'])
    assert.deepEqual(found({ seen: [...story().seen, step('start', 'x', 120, 1, 'm2')] }), ['returned x'])
  })

  test('a retry whose member was killed may be there twice, and one of a key may not', () => {
    const twice = (key: string | undefined, kind: string): readonly string[] =>
      found({
        sent: [...story().sent.slice(0, 3), sent('x', 30, { key, kind: 'retry' })],
        seen: [
          ...story().seen.filter(({ id }) => id !== 'x'),
          step('start', 'x', 200, 1, 'm2'),
          ...handled('x', 400, 2),
          ...handled('x', 900, 2),
        ],
        faults: [fault(kind, 'm2', 201, 300)],
      })
    assert.deepEqual(twice(undefined, 'kill'), [])
    assert.deepEqual(twice(undefined, 'close'), ['returned x'])
    assert.deepEqual(twice('other', 'kill'), ['returned x'])
  })

  test('a delayed message comes neither early nor much later than it is due', () => {
    const delayed = (start: number): readonly string[] =>
      found({
        sent: [...story().sent, sent('d', 0, { delayMs: 500, key: undefined })],
        seen: [...story().seen, ...handled('d', start)],
      })
    assert.deepEqual(delayed(499), ['early d'])
    assert.deepEqual(delayed(505), [])
    assert.deepEqual(delayed(1_505), [])
    assert.deepEqual(delayed(1_506), ['late d'])
  })

  test('only what its handler refused may be dead-lettered', () => {
    const letters = [{ id: 'b', group: 'g', reason: 'exhausted' }]
    assert.deepEqual(found({ letters }), ['dead b'])
    const sentPoison = story().sent.map((entry) => (entry.id === 'b' ? { ...entry, kind: 'poison' as const } : entry))
    assert.deepEqual(found({ letters, sent: sentPoison }), [])
  })

  test('a member that is not well at the end is a violation', () => {
    assert.deepEqual(found({ unwell: ['m1 of g: stalled'] }), ['unwell'])
  })

  test('the report names the run, the faults, and all that happened to the message', () => {
    const broken = story({ seen: story().seen.filter(({ id }) => id !== 'b'), faults: [fault('kill', 'm1', 50, 60)] })
    const text = report({ ...broken, seen: [...broken.seen, step('start', 'b', 120)] }, check(broken), 'seed 7')
    assert.match(text, /^seed 7: 1 lost\n {2}lost: b \(plain\) was confirmed and never handled in g/)
    assert.match(text, /Faults:\n +0\.050 s to +0\.060 s kill m1/)
    assert.match(
      text,
      /Story of b:\n.* published \(plain, key k, delay 0 ms\)\n.* confirmed\n +0\.120 s g m1 start attempt 1/,
    )
  })
})
