import { existsSync, readFileSync } from 'node:fs'
import { globSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')
const pages = ['README.md', ...globSync('docs/**/*.md', { cwd: root })]

interface Quote {
  readonly page: string
  readonly file: string
  readonly code: string
}

/** Blocks of code that follow `<!-- examples/x.ts -->`: they quote that file. */
function quotes(page: string): Quote[] {
  const text = readFileSync(join(root, page), 'utf8')
  const found = text.matchAll(/<!-- (examples\/\S+)[^>]*-->\s*```ts\n(.*?)```/gs)
  return [...found].map(([, file = '', code = '']) => ({ page, file, code }))
}

/** Targets of links within the repository. */
function links(page: string): string[] {
  const text = readFileSync(join(root, page), 'utf8').replace(/```.*?```/gs, '')
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = '']) => target.replace(/#.*$/, ''))
    .filter((target) => target !== '' && !/^[a-z]+:/.test(target))
}

describe('the pages for users', () => {
  it('quote the examples that are run in the tests', () => {
    const all = pages.flatMap(quotes)
    expect(all.map((quote) => quote.file)).toEqual(
      expect.arrayContaining(['examples/readme/main.ts', 'examples/first-message/hello.ts']),
    )
    for (const { page, file, code } of all)
      expect(code, `${page} quotes ${file}`).toBe(readFileSync(join(root, file), 'utf8'))
  })

  it.each(pages)('%s links to pages that are there', (page) => {
    for (const target of links(page)) expect(existsSync(join(root, dirname(page), target)), target).toBe(true)
  })
})
