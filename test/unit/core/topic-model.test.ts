import assert from 'node:assert/strict'
import { test } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { compilePattern, isPattern, patternsOverlap, topicProblem } from '../../../src/core/topic.ts'

// Patterns beside a model of them that tries everything: all topics of up to four tokens of a small alphabet.

const TOKENS = ['a', 'b', 'dlq']
const TOPICS: readonly string[] = topicsOf(4)

function topicsOf(length: number): string[] {
  if (length === 1) return [...TOKENS]
  const shorter = topicsOf(length - 1)
  return [...new Set([...shorter, ...shorter.flatMap((topic) => TOKENS.map((token) => `${topic}.${token}`))])]
}

const PATTERNS: readonly string[] = [...TOPICS, '>', '#']
  .flatMap((topic) => [topic, topic.replaceAll('b', '*'), `${topic}.>`, `${topic.replaceAll('b', '*')}.#`])
  .filter((pattern) => topicProblem(pattern, true) === undefined)

/** By its definition: `*` is one token, a trailing `>` any number; dead letters only if the pattern says so. */
function matches(pattern: readonly string[], topic: readonly string[]): boolean {
  const [first, ...rest] = pattern
  if (first === undefined) return topic.length === 0
  if ((first === '>' || first === '#') && rest.length === 0) return true
  return topic.length > 0 && (first === '*' || first === topic[0]) && matches(rest, topic.slice(1))
}

function model(pattern: string, topic: string): boolean {
  const reaches = pattern.endsWith('.dlq') || !isPattern(pattern) || !topic.endsWith('.dlq')
  return reaches && matches(pattern.split('.'), topic.split('.'))
}

test('a pattern matches what it says', () => {
  const random = seededRandom('patterns')
  for (const pattern of random.shuffle([...new Set(PATTERNS)]).slice(0, 200)) {
    const compiled = compilePattern(pattern)
    for (const topic of TOPICS) assert.equal(compiled(topic), model(pattern, topic), `${pattern} on ${topic}`)
  }
})

test('two patterns overlap when some topic matches both', () => {
  const random = seededRandom('overlaps')
  // What two of them share is no longer than the longest topic here.
  const patterns = [...new Set(PATTERNS)].filter((pattern) => pattern.split('.').length <= 4)
  const matched = new Map(patterns.map((pattern) => [pattern, TOPICS.filter(compilePattern(pattern))]))
  for (let round = 0; round < 3_000; round++) {
    const [a, b] = [random.pick(patterns), random.pick(patterns)]
    const shared = matched.get(a)?.some(compilePattern(b)) === true
    assert.equal(patternsOverlap(a, b), patternsOverlap(b, a), `${a} and ${b}`)
    // What goes on behind a token "dlq" is refused beside `a.*`, which shares only dead letters with it: too careful.
    if (!shared && [a, b].some((pattern) => /\bdlq\.[>#]$/.test(pattern))) continue
    assert.equal(patternsOverlap(a, b), shared, `${a} and ${b}`)
  }
})

test('an invalid topic is reported as such', () => {
  const random = seededRandom('names')
  const pieces = ['a', 'B', '9', '_', '-', '.', '*', '>', '#', ' ', 'ü', '\n', '\ud800', 'x'.repeat(90)]
  for (let round = 0; round < 5_000; round++) {
    const topic = Array.from({ length: random.integer(0, 6) }, () => random.pick(pieces)).join('')
    const isName = /^[\w-]+(\.[\w-]+)*$/.test(topic) && !topic.includes('\n') && topic.length <= 160
    assert.equal(topicProblem(topic, false) === undefined, isName, JSON.stringify(topic))
    assert.match(topicProblem(topic, true) ?? '', /^[\x20-\x7e]*$/)
    assert.ok((topicProblem(topic, true) ?? '').length < 200)
  }
})
