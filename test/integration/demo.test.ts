import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startPrivate } from '../../tools/brokers/index.ts'
import { skipIfMissing } from './broker-helpers.ts'
import { runDemo } from './run-demo.ts'
import type { DemoRun } from './run-demo.ts'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'busbar-demo-test-'))
})

afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
})

/** With short leases: what a killed worker held comes back after that. */
const PARAMETERS = {
  rabbitmq: '',
  nats: '?leaseMs=3000',
  redis: '?retention.maxMessages=100000&leaseMs=3000',
  // The shortest that a broker allows by default.
  kafka: '?sessionTimeoutMs=6000',
} as const

/** Runs the demo with its temporary files in the test's folder. */
const demo = (args: readonly string[], onOutput?: Parameters<typeof runDemo>[2]): Promise<DemoRun> =>
  runDemo(folder, args, onOutput)

/** A file of orders; each text is a line as it is, each object changes a good order. */
function orderFile(...lines: readonly (string | object)[]): string {
  const path = join(folder, 'orders.ndjson')
  const texts = lines.map((line, index) => {
    if (typeof line === 'string') return line
    const good = {
      orderId: `A-${index + 1}`,
      placedAt: '2026-01-05T07:00:00Z',
      customer: { name: 'Ada Abel', email: 'ada@example.com' },
      items: [{ sku: 'MUG-BLUE', quantity: 1, unitCents: 1290 }],
      currency: 'EUR',
      totalCents: 1290,
      shipTo: { street: '1 Mill Lane', city: 'Lyon', postcode: '69003', country: 'FR' },
    }
    return JSON.stringify({ ...good, ...line })
  })
  writeFileSync(path, texts.join('\n'))
  return path
}

function summaryOf(run: DemoRun): Record<string, unknown> {
  expect(run.stderr).not.toMatch(/\n\s+at /)
  expect(run.stdout).toMatch(/^\{.*\}\n$/)
  return JSON.parse(run.stdout) as Record<string, unknown>
}

describe('the order flow', () => {
  it('accounts for every order on memory, with exactly the keys that are documented', async () => {
    const run = await demo(['--transport', 'memory:', '--orders', '600', '--json'])
    const summary = summaryOf(run)
    expect(run.code).toBe(0)
    // The same orders have the same luck in every run.
    expect(summary).toEqual({
      transport: 'memory',
      placed: 600,
      shipped: 510,
      cancelled: 89,
      deadLettered: 1,
      redriven: 4,
      missing: 0,
      shippedTwice: 0,
      killed: 0,
      elapsedMs: expect.any(Number),
      ordersPerSecond: expect.any(Number),
    })
    expect(readdirSync(folder)).toEqual([])
  })

  it('loses nothing on sqlite when a worker process is killed in the middle', { timeout: 90_000 }, async () => {
    const run = await demo(['--orders', '1500', '--kill', '--json'])
    const summary = summaryOf(run)
    expect(run.code, run.stderr).toBe(0)
    expect(run.stderr).toMatch(/--seed \d+/)
    expect(run.stderr).toContain('starting 5 worker processes ...')
    expect(run.stderr).toMatch(/killed the \w+ worker with SIGKILL \(process \d+\); what it held .*, in up to 5 s/)
    expect(summary).toMatchObject({
      transport: 'sqlite',
      placed: 1500,
      deadLettered: 1,
      missing: 0,
      shippedTwice: 0,
      killed: 1,
    })
    expect(Number(summary['shipped']) + Number(summary['cancelled'])).toBe(1499)
    expect(readdirSync(folder)).toEqual([])
  })

  it.for(['rabbitmq', 'nats', 'redis', 'kafka'] as const)(
    'loses nothing on %s when a worker process is killed in the middle',
    { timeout: 120_000 },
    async (name, context) => {
      await using broker = await skipIfMissing(context, startPrivate(name))
      const run = await demo([
        '--transport',
        `${broker.url}${PARAMETERS[name]}`,
        '--orders',
        '1000',
        '--kill',
        '--json',
      ])
      expect(run.code, run.stderr).toBe(0)
      const accounted = { placed: 1000, deadLettered: 1, missing: 0, shippedTwice: 0, killed: 1 }
      expect(summaryOf(run)).toMatchObject({ transport: name, ...accounted })
    },
  )

  it('writes plain lines and the account when it is no terminal', async () => {
    const run = await demo(['--transport', 'memory:', '--orders', '200'])
    expect(run).toMatchObject({ code: 0, stderr: '' })
    expect(run.stdout).toMatch(
      /200 orders placed = 1\d\d shipped \+ \d+ cancelled \+ 1 dead-lettered\nNone is missing\.\nNone was shipped twice\./,
    )
    // oxlint-disable-next-line no-control-regex -- that there is no escape sequence is what is tested
    expect(run.stdout).not.toMatch(/\x1b/)
  })

  it("takes the user's own orders, with a byte order mark, empty lines and unknown fields", async () => {
    const path = orderFile({}, '', { note: 'gift' }, { shipTo: { street: 'x', city: 'Hong Kong', country: 'HK' } })
    writeFileSync(path, `\ufeff${readFileSync(path, 'utf8')}\r\n`)
    const summary = summaryOf(await demo(['--transport', 'memory:', '--input', path, '--json']))
    expect(summary).toMatchObject({ placed: 3, shipped: 3, redriven: 1, missing: 0 })
  })

  it('publishes malformed lines as they are when asked to, and finds them in the dead letters', async () => {
    const path = orderFile({}, '{"orderId":', { totalCents: '1290' }, {})
    const summary = summaryOf(await demo(['--transport', 'memory:', '--input', path, '--tolerant', '--json']))
    expect(summary).toMatchObject({ placed: 4, shipped: 2, deadLettered: 2, missing: 0 })
  })

  it('stops on Ctrl-C, leaves no file behind and says so in its exit code', async () => {
    const run = await demo(['--transport', 'memory:', '--orders', '50000'], (text, kill) => {
      if (text.includes('00:01')) kill('SIGINT')
    })
    expect(run.code).toBe(130)
    expect(run.stderr).toContain('stopped')
    expect(readdirSync(folder)).toEqual([])
  })
})

describe('bad input to the order flow', () => {
  it.each([
    ['an unknown flag', ['--order', '5'], /Unknown option '--order'.*Usage: npm run demo/s],
    ['a stray word', ['100'], /Usage: npm run demo/],
    ['a count that is none', ['--orders', '1e3'], /--orders takes a whole number from 1, got "1e3"/],
    ['no orders at all', ['--orders', '0'], /--orders takes a whole number from 1, got "0"/],
    ['--kill in a single process', ['--kill', '--transport', 'memory:'], /--kill needs worker processes/],
    ['--kill with next to no orders', ['--kill', '--orders', '20'], /--kill needs at least 100 orders/],
    ['--seed without --kill', ['--seed', '1'], /--seed .* means nothing without it/],
    ['--tolerant without a file', ['--tolerant'], /--input FILE/],
    [
      'an unknown transport',
      ['--transport', 'carrier-pigeon://loft'],
      /has the scheme "carrier-pigeon:", which is none of: memory:, sqlite:/,
    ],
    ['a file that is not there', ['--input', 'nowhere.ndjson'], /nowhere\.ndjson does not exist/],
    ['a folder', ['--input', '.'], /is not a regular file/],
  ])('%s: exit code 2, a clear message, nothing on stdout', async (_, args, message) => {
    const run = await demo([...args, '--json'])
    expect(run).toMatchObject({ code: 2, stdout: '' })
    expect(run.stderr).toMatch(message)
    expect(run.stderr).not.toMatch(/\n\s+at /)
    expect(readdirSync(folder)).toEqual([])
  })

  it('names the malformed lines of a file and publishes nothing', async () => {
    const path = orderFile({}, '{"orderId":', {}, { totalCents: '1290' }, { orderId: 'A-1' })
    const run = await demo(['--input', path, '--json'])
    expect(run).toMatchObject({ code: 2, stdout: '' })
    expect(run.stderr).toContain('3 of 5 lines')
    expect(run.stderr).toContain(`${path}:2: not valid JSON`)
    expect(run.stderr).toContain(`${path}:4: not a valid order: totalCents`)
    expect(run.stderr).toContain(`${path}:5: orderId "A-1" is already on line 1`)
  })

  it('refuses an order id that comes twice even when tolerant: it could not be accounted for', async () => {
    const run = await demo(['--input', orderFile({ orderId: 'X' }, { orderId: 'X' }), '--tolerant', '--json'])
    expect(run).toMatchObject({ code: 2, stdout: '' })
    expect(run.stderr).toContain('orderId "X" is already on line 1')
  })

  it('refuses a file without orders', async () => {
    const run = await demo(['--input', orderFile('', ''), '--json'])
    expect(run).toMatchObject({ code: 2, stdout: '' })
    expect(run.stderr).toContain('holds no orders')
  })
})
