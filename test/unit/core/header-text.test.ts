import { describe, expect, it } from 'vitest'
import { fromHeaderText, toHeaderText } from '../../../src/core/dead-letters/header-text.ts'

describe('header text', () => {
  it.each(['plain', '', 'žluťoučký 🌱', 'a\r\nb\0c', 'back\\slash "quoted"', 'C:\\new\\user'])(
    'carries %j as printable ASCII, and back',
    (text) => {
      const header = toHeaderText(text, 1_000)
      expect(header).toMatch(/^[\x20-\x7e]*$/)
      expect(fromHeaderText(header)).toBe(text)
    },
  )

  it('cuts between characters, at every length', () => {
    const text = 'a\\ž"🌱\n'.repeat(3)
    for (let max = 0; max < 100; max++) {
      const header = toHeaderText(text, max)
      expect(header.length).toBeLessThanOrEqual(max)
      expect(header.length).toBeGreaterThan(Math.min(max, toHeaderText(text, 1_000).length) - 12)
      const back = fromHeaderText(header)
      expect(text.startsWith(back)).toBe(true)
      expect(back.isWellFormed()).toBe(true)
    }
  })

  it('returns what it did not write as it is', () => {
    expect(fromHeaderText('a "foreign" text')).toBe('a "foreign" text')
    expect(fromHeaderText('ends in \\')).toBe('ends in \\')
  })
})
