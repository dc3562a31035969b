import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')
let folder: string

beforeAll(() => {
  // Inside the project, so that `busbar` is this package, and where nothing else looks at it.
  mkdirSync(join(root, 'reports'), { recursive: true })
  folder = mkdtempSync(join(root, 'reports/program-'))
})

afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

const HEAD = `
import { createBus, defineConsumer, defineEvent } from 'busbar'
import type { HandlerContext } from 'busbar'
import { memory } from 'busbar/memory'
declare const ctx: HandlerContext
const OrderPlaced = defineEvent<{ total: number; note?: string }>('orders.placed')
const bus = createBus({ service: 'billing', transport: memory() })
`

interface Mistake {
  readonly line: string
  /** What the error has to point at. */
  readonly at: string
  readonly says: string
}

const WRONG_TYPE = { at: 'total', says: "Type 'string' is not assignable to type 'number'." }
const EXTRA = { at: 'nota', says: "Object literal may only specify known properties, and 'nota' does not exist" }
const TYPO = { at: 'attemps', says: "Did you mean to write 'attempts'?" }

const MISTAKES: readonly Mistake[] = [
  { line: "void bus.publish(OrderPlaced, { total: 'no' })", ...WRONG_TYPE },
  { line: "void bus.publish(OrderPlaced, { total: 1, nota: 'a' })", ...EXTRA },
  { line: "void bus.publishMany(OrderPlaced, [{ data: { total: 'no' } }])", ...WRONG_TYPE },
  { line: "void ctx.publish(OrderPlaced, { total: 'no' })", ...WRONG_TYPE },
  { line: "void ctx.publish(OrderPlaced, { total: 1, nota: 'a' })", ...EXTRA },
  { line: "void ctx.publishMany(OrderPlaced, [{ data: { total: 'no' } }])", ...WRONG_TYPE },
  { line: 'bus.consume(OrderPlaced, () => {}, { retry: { attemps: 3 } })', ...TYPO },
  {
    line: 'bus.consume(OrderPlaced, () => {}, { concurency: 3 })',
    at: 'concurency',
    says: "Did you mean to write 'concurrency'?",
  },
  {
    line: 'defineConsumer({ topic: OrderPlaced, concurency: 3, handle: (message) => void message.data.total })',
    at: 'concurency',
    says: "Did you mean to write 'concurrency'?",
  },
  { line: 'bus.consume(OrderPlaced)', at: 'OrderPlaced', says: "'handle'" },
]

const RIGHT = [
  "void bus.publish(OrderPlaced, { total: 1 }, { key: 'a' })",
  "void bus.publish('plain.topic', { anything: 1 })",
  'bus.consume(OrderPlaced, (message) => message.data.total.toFixed(), { retry: { attempts: 3 } })',
  'bus.consume(OrderPlaced, (messages) => messages.map((message) => void message.data.total), { batch: { size: 2 } })',
]

/** What tsc prints for a user's program, one text for each error. */
function errorsOf(lines: readonly string[]): readonly string[] {
  writeFileSync(join(folder, 'program.ts'), `${HEAD}${lines.join('\n')}\n`)
  const compilerOptions = {
    strict: true,
    module: 'nodenext',
    target: 'es2024',
    lib: ['es2024', 'esnext.disposable'],
    customConditions: ['busbar-source'],
    allowImportingTsExtensions: true,
    skipLibCheck: true,
    noEmit: true,
    types: ['node'],
  }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['program.ts'] }))
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const { stdout, stderr } = spawnSync(process.execPath, [tsc, '-p', folder, '--pretty', 'false'], {
    cwd: folder,
    encoding: 'utf8',
  })
  expect(stderr).toBe('')
  return stdout.split(/^(?=\S)/m).filter((text) => text.trim() !== '')
}

describe('what TypeScript says about the commonest mistakes', { timeout: 60_000 }, () => {
  let errors: readonly string[]

  beforeAll(() => {
    errors = errorsOf(MISTAKES.map(({ line }) => line))
  })

  it.each(MISTAKES)('$line', ({ line, at, says }) => {
    const row = HEAD.split('\n').length + MISTAKES.findIndex((mistake) => mistake.line === line)
    const own = errors.filter((text) => text.startsWith(`program.ts(${row},`))
    expect(own, errors.join('')).toHaveLength(1)
    expect(own[0]).toContain(`program.ts(${row},${line.indexOf(at) + 1}): error`)
    expect(own[0]).toContain(says)
  })

  it('nothing else', () => {
    expect(errors).toHaveLength(MISTAKES.length)
  })

  it('nothing about programs that are right', () => {
    expect(errorsOf(RIGHT)).toEqual([])
  })
})
