import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { PAINS } from './pains.ts'

it('there are 19 themes, and each is a test of that name', () => {
  expect(new Set(PAINS.map(({ theme }) => theme)).size).toBe(19)
  for (const { theme, file } of PAINS) {
    const source = readFileSync(join(import.meta.dirname, `${file}.test.ts`), 'utf8')
    expect(source.includes(`'${theme}: `), theme).toBe(true)
  }
})
