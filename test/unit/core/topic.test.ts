import { describe, expect, it } from 'vitest'
import {
  checkTopicName,
  compilePattern,
  deadLetterTopic,
  isPattern,
  normalizePattern,
  patternsOverlap,
  topicProblem,
} from '../../../src/core/topic.ts'

describe('topic names', () => {
  it.each(['orders', 'orders.placed', 'a-b_c.D9', 'x'.repeat(160)])('takes %s', (topic) => {
    expect(() => checkTopicName(topic)).not.toThrow()
  })

  it.each([
    ['', 'is empty'],
    ['.a', 'empty token'],
    ['a.', 'empty token'],
    ['a..b', 'empty token'],
    ['a b', 'use letters'],
    ['a.ü', 'use letters'],
    ['a\n', 'use letters'],
    ['a.*', 'wildcard'],
    ['a.>', 'wildcard'],
    ['x'.repeat(161), 'limit is 160'],
  ])('refuses %j: %s', (topic, what) => {
    expect(() => checkTopicName(topic)).toThrow(what)
  })

  it('does not repeat control characters of a bad name', () => {
    expect(topicProblem('a.\u0000b', false)).toContain('"?b"')
  })
})

describe('patterns', () => {
  it.each([
    ['orders.placed', 'orders.placed', true],
    ['orders.placed', 'orders.paid', false],
    ['orders.*', 'orders.placed', true],
    ['orders.*', 'orders', false],
    ['orders.*', 'orders.placed.eu', false],
    ['*.placed', 'orders.placed', true],
    ['*', 'orders', true],
    ['*', 'orders.placed', false],
    ['orders.*.eu', 'orders.placed.eu', true],
    ['orders.*.eu', 'orders.placed.us', false],
    ['orders.>', 'orders', true],
    ['orders.>', 'orders.placed', true],
    ['orders.>', 'orders.placed.eu', true],
    ['orders.>', 'ordersx', false],
    ['orders.#', 'orders.placed.eu', true],
    ['>', 'anything.at.all', true],
    ['#', 'anything', true],
    ['*.>', 'a', true],
    ['orders.>', 'orders.placed.billing.dlq', false],
    ['>', 'orders.placed.billing.dlq', false],
    ['*.*.*.dlq', 'orders.placed.billing.dlq', true],
    ['orders.placed.billing.dlq', 'orders.placed.billing.dlq', true],
  ])('%s on %s: %s', (pattern, topic, expected) => {
    expect(compilePattern(pattern)(topic)).toBe(expected)
  })

  it.each(['a.>.b', '>.a', 'a.#.b', 'a.b*', 'a>'])('refuses %s', (pattern) => {
    expect(topicProblem(pattern, true)).toEqual(expect.any(String))
  })

  it('knows its one spelling', () => {
    expect(normalizePattern('a.#')).toBe('a.>')
    expect(isPattern('a.b')).toBe(false)
    expect(isPattern('a.#')).toBe(true)
    expect(deadLetterTopic('a.b', 'g')).toBe('a.b.g.dlq')
  })

  it.each([
    ['a.b', 'a.b', true],
    ['a.b', 'a.c', false],
    ['a.*', 'a.b', true],
    ['a.*', '*.b', true],
    ['a.*', 'b.*', false],
    ['a.>', 'a', true],
    ['a.>', 'a.b.c', true],
    ['a.>', 'b.>', false],
    ['>', 'x.y', true],
    ['a.*', 'a.b.c', false],
    ['a.b.>', 'a.*', true],
    ['orders.>', 'orders.placed.billing.dlq', false],
    ['>', '*.*.*.dlq', false],
    ['orders.*.*.dlq', '*.placed.billing.dlq', true],
  ])('overlap of %s and %s: %s, both ways round', (a, b, expected) => {
    expect(patternsOverlap(a, b)).toBe(expected)
    expect(patternsOverlap(b, a)).toBe(expected)
  })
})
