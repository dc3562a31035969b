import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ConfigurationError } from 'busbar'
import { circuitBreaker, dedupe, logger, throttle, timeout } from 'busbar/middleware'
import { memoryDedupeStore } from 'busbar/stores/memory'
import { postgresDedupeStore, postgresUnitOfWork } from 'busbar/stores/postgres'
import { redisDedupeStore } from 'busbar/stores/redis'
import { sqliteDedupeStore, sqliteUnitOfWork } from 'busbar/stores/sqlite'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '../../..')
const reference = readFileSync(join(root, 'docs/reference/middleware.md'), 'utf8')

/** What a factory says there is when it is given an option that there is not. */
function optionsOf(factory: (options: never) => unknown): string[] {
  try {
    factory({ 'no such option at all': 1 } as never)
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error
    const list = error.problems.find(({ path }) => path === 'no such option at all')?.message.split('there are: ')[1]
    if (list !== undefined) return list.split(', ')
  }
  throw new Error('the factory accepted an option that it can not know')
}

/** First cells of the first table that is headed by `option` in a section. */
function documented(page: string, heading: string): string[] {
  const section = page.split(/^#+ /m).find((text) => text.startsWith(`${heading}\n`)) ?? ''
  const table = section.split('| option |')[1]?.split('\n\n')[0] ?? ''
  return [...table.matchAll(/^\| `(\w+)`/gm)].map(([, name = '']) => name)
}

describe('docs/reference/middleware.md', () => {
  it.each([
    ['logger', logger],
    ['timeout', timeout],
    ['throttle', throttle],
    ['circuitBreaker', circuitBreaker],
    ['dedupe', dedupe],
    ['memoryDedupeStore', memoryDedupeStore],
  ])('lists every option of %s', (name, factory) => {
    expect(documented(reference, name).sort()).toEqual(optionsOf(factory).sort())
  })
})

describe('docs/reference/stores.md', () => {
  const stores = readFileSync(join(root, 'docs/reference/stores.md'), 'utf8')

  it.each([
    ['sqliteDedupeStore', sqliteDedupeStore],
    ['redisDedupeStore', redisDedupeStore],
    ['postgresDedupeStore', postgresDedupeStore],
    ['sqliteUnitOfWork', sqliteUnitOfWork],
    ['postgresUnitOfWork', postgresUnitOfWork],
  ])('lists every option of %s', (name, factory) => {
    expect(documented(stores, name).sort()).toEqual(optionsOf(factory).sort())
  })

  it('shows the tables as they are created', () => {
    const words = (sql: string): string => sql.replaceAll('"', '').replace(/\s+/g, ' ')
    const { sql } = postgresDedupeStore({ client: { query: () => Promise.reject(new Error('not called')) } })
    const shown = /```sql\n(.*?)```/s.exec(stores)?.[1] ?? ''
    for (const statement of words(shown).trim().split('; ')) expect(words(sql)).toContain(statement.replace(/;$/, ''))
  })
})

describe('the examples of the pages on middleware', () => {
  it.each([
    ['middleware/chain', ["charged { orderId: 'ord-1' }", 'orders.placed attempt 1 took little']],
    [
      'middleware/circuit-breaker',
      [
        'payment-api: closed -> open',
        'payment-api: open -> half-open',
        'payment-api: half-open -> open',
        'payment-api: open -> half-open',
        'payment-api: half-open -> closed',
        '10 calls for 6 messages, state closed',
      ],
    ],
    ['middleware/batch', ["charged [ 'ord-1', 'ord-2', 'ord-3' ]", '3 messages, 0 failed']],
    ['middleware/throttle', ['five mails to one customer took no less than 200 ms']],
    ['middleware/timeout', ['attempt 1 was not', 'attempt 2 was in time']],
    ['idempotent-handlers/dedupe', ['shipment-1: mail sent', 'shipment-2: mail sent', 'shipment-1 again: skipped']],
    ['idempotent-handlers/transaction', ['1000']],
    ['idempotent-handlers/upsert', ['1']],
  ])('%s prints what it should, and ends', async (name, lines) => {
    const file = join(root, 'examples', `${name}.ts`)
    const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--conditions=busbar-source', file], {
      // None may be kept alive by a timer that its middleware left behind; the shortest of them takes 10 s.
      timeout: 5_000,
      env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined },
    })
    expect(stdout.trimEnd().split('\n')).toEqual(lines)
    expect(stderr).not.toMatch(/error/i)
  })
})
