import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createBus } from 'busbar'
import type { Handler } from 'busbar'
import { sqlite } from 'busbar/sqlite'

const examples = join(import.meta.dirname, '../../examples')
let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'busbar-examples-test-'))
})

afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
})

/**
 * Runs an example in an empty folder; interrupts it when the text appears. Resolves with what it printed on stdout; on stderr
 * the bus reports dead letters, which some examples are about.
 */
function run(
  file: string,
  options: {
    readonly env?: NodeJS.ProcessEnv
    readonly args?: readonly string[]
    readonly interruptAt?: string
  } = {},
): Promise<string> {
  const child = spawn(process.execPath, ['--conditions=busbar-source', join(examples, file), ...(options.args ?? [])], {
    cwd: folder,
    env: { ...process.env, ...options.env },
  })
  let [output, errors] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
    if (options.interruptAt !== undefined && output.includes(options.interruptAt)) child.kill('SIGINT')
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  child.on('error', reject)
  child.on('close', (code, signal) => {
    const odd = errors.split('\n').filter((line) => line !== '' && !/^(busbar: | {8}\()/.test(line))
    if (code === 0 && odd.length === 0) resolve(output)
    else reject(new Error(`${file} ended with ${code ?? signal}: ${output}${errors}`))
  })
  return promise
}

describe.each(['memory:', 'sqlite:./hello.db'])('the first message on %s', (url) => {
  const env = { BUS_URL: url }

  it('is handled', async () => {
    expect(await run('first-message/hello.ts', { env })).toMatch(
      /^Hello, Ada! \(message [0-9a-f-]{36}, sent by hello\)\n$/,
    )
  })

  it('becomes a dead letter and comes back', async () => {
    expect(await run('first-message/dead-letter.ts', { env })).toBe(
      [
        'attempt 1',
        'attempt 2',
        'attempt 3',
        'exhausted after 3 attempts: lost my voice',
        'sending it back',
        'attempt 1',
        'Hello, Ada!',
        '',
      ].join('\n'),
    )
  })
})

it('the code of the README runs until it is interrupted', async () => {
  const output = await run('readme/main.ts', { interruptAt: 'paid: ord-1' })
  expect(output).toBe('charging 42 for ord-1\npaid: ord-1\n')
})

describe('the how-to pages', () => {
  it('write the envelope in both forms', async () => {
    expect(await run('how-to/envelope.ts')).toBe(
      [
        'compact busbar ce_source ce_partitionkey',
        'true',
        'cloudevents ce_specversion ce_id ce_type ce_source ce_time ce_partitionkey ce_correlationid content-type',
        'true',
        '',
      ].join('\n'),
    )
  })

  it('publish with the ack', async () => {
    expect(await run('how-to/publish-on-ack.ts')).toBe('receipt of attempt 2\n')
  })

  it('publish all or nothing', async () => {
    const lines = (await run('how-to/message-transaction.ts')).trim().split('\n')
    expect(lines[0]).toBe('there is no address for ord-1')
    expect(lines.slice(1).sort()).toEqual(['a parcel goes to Lisbon', 'ord-2 is paid'])
  })

  it('publish exactly once', async () => {
    expect(await run('how-to/exactly-once.ts')).toBe('100 cents so far\n350 cents so far\n')
  })

  it('observe a bus', async () => {
    expect((await run('how-to/observe.ts')).trim().split('\n').sort()).toEqual([
      'orders.placed, attempt 1: Error: not yet',
      'orders.placed, attempt 2: ok',
      'published 1 of 1 to memory',
      'settled: ack',
      'settled: nack',
    ])
  })

  it('handle several events in one consumer', async () => {
    expect(await run('how-to/several-events.ts')).toBe('ord-1 is 4200\nord-2 is 999\nord-1 paid by card\n')
  })

  it('sends large messages by claim', async () => {
    expect(await run('how-to/claim-check.ts')).toBe('harbour: 2000000 pixels\nthe broker has 137 bytes of it\n')
  })

  it('processes messages in stages', async () => {
    const lines = (await run('how-to/pipeline.ts')).trim().split('\n')
    expect(lines.toSorted()).toEqual(['AT: o1, o4', 'DE: o2', 'refused o3: nobody knows eve'])
  })

  it('filters messages', async () => {
    expect(await run('how-to/filter-messages.ts')).toBe('review ord-2\n1 handled, 3 skipped\n')
  })

  it('retry what may pass and dead-letter what will not', async () => {
    expect(await run('how-to/retries.ts')).toBe(
      [
        'attempt 1 for ord-1',
        'attempt 2 for ord-1',
        'charged ord-1',
        'attempt 1 for ord-2',
        'attempt 1 for ord-2',
        'rejected: Error: stolen card',
        'rejected: RejectError: an order without a card was never valid',
        '',
      ].join('\n'),
    )
  })

  it('handle batches with a result for each message', async () => {
    expect(await run('how-to/batches.ts')).toBe('inserting 3 rows\ndead letter of cellar: below absolute zero\n')
  })

  it('add something to every publish', async () => {
    expect(await run('how-to/publish-middleware.ts')).toBe(
      'refused: a request may not publish to internal.reset\ntenant acme\ntenant acme\nsent orders.placed, 19 bytes\n',
    )
  })

  it('finish what runs when they are asked to stop', async () => {
    expect(await run('how-to/shutdown.ts')).toBe('working on sales\ndone\nclosed\n')
  })

  it('start and close an extension with the bus', async () => {
    expect(await run('how-to/extension.ts')).toBe(
      [
        "charge { orderId: 'ord-1' }",
        "charge { orderId: 'ord-2' }",
        "{ 'order-importer': { status: 'ok' } }",
        '{ imported: 2, waiting: 0 }',
        'inbox closed',
        '',
      ].join('\n'),
    )
  })

  it('remember what was handled beyond the process', async () => {
    expect(await run('how-to/shared-dedupe.ts')).toBe(
      [
        'first: mail for shipment-1 sent',
        'first: mail for shipment-2 sent',
        'second: shipment-1 again, skipped',
        'second: mail for shipment-3 sent',
        '',
      ].join('\n'),
    )
  })

  it('publish with an outbox', async () => {
    const lines = (await run('outbox/sqlite.ts')).trim().split('\n')
    expect(lines).toEqual(['ord-2 is too expensive', 'charge 42 for ord-1', '1 order, 1 event'])
  })

  it('count what a dual write loses, and that an outbox loses nothing', async () => {
    expect(await run('outbox/dual-write.ts')).toBe(
      [
        'write, then publish: 200 orders, 20 without an event, 0 events without an order',
        'publish, then write: 180 orders, 0 without an event, 20 events without an order',
        'outbox: 160 orders, 0 without an event, 0 events without an order',
        '',
      ].join('\n'),
    )
  })

  it('handle messages in a transaction', async () => {
    expect(await run('how-to/transactions.ts')).toBe("2 lines\n[ 'ord-1 stored by attempt 2' ]\n")
  })

  // Lines of different consumers come in no certain order.
  it.each([
    ['first-app', ['Hello, Ada!']],
    ['wildcards', ['orders.*: orders.placed', 'orders.>: orders.placed', 'orders.>: orders.eu.placed']],
    [
      'broadcast',
      ['first forgot the price of MUG-BLUE, and has 0 left', 'second forgot the price of MUG-BLUE, and has 0 left'],
    ],
    ['delayed', ['published, not delivered yet', 'remind the customer of ord-1', 'remind the customer of ord-2']],
    ['several-transports', ['stored: ord-1', 'local: ord-1']],
    ['define-consumers', ['charge 42 for ord-1', 'mail 1 invoices']],
    ['schemas', ['AS IT IS, WITHOUT QUOTES text/plain; charset=utf-8', '2026 version 2']],
    ['environment', ['billing with 10 handlers at once', 'charge ord-1']],
    ['http-server', ['202', '400', 'handling ord-1']],
    ['handler-context', ['payments, attempt 1', 'caused by the first: true; same conversation: true']],
    [
      'stats',
      [
        '{ received: 3, acked: 3, deadLettered: 0, running: 0, buffered: 0 }',
        'ok',
        'reports.requested reports: lag 0',
        '0: at 2 of 2',
      ],
    ],
  ])('show %s', async (name, lines) => {
    const output = await run(`how-to/${name}.ts`)
    expect(output.trimEnd().split('\n').sort()).toEqual([...lines].sort())
  })

  it('take their settings from the environment, and refuse wrong ones', async () => {
    const env = { SERVICE: 'shipping', CONCURRENCY: '3', BUS_URL: 'sqlite:./environment.db' }
    expect(await run('how-to/environment.ts', { env })).toBe('shipping with 3 handlers at once\ncharge ord-1\n')
    await expect(run('how-to/environment.ts', { env: { CONCURRENCY: 'many' } })).rejects.toThrow(
      'CONCURRENCY must be a whole number, got "many"',
    )
  })

  it('send dead letters back with a script', async () => {
    const path = join(folder, 'redrive.db')
    const env = { BUS_URL: `sqlite:${encodeURI(path)}` }
    const script = (...args: string[]): Promise<string> => run('how-to/redrive.ts', { env, args })
    await using bus = createBus({ service: 'billing', transport: sqlite({ path }), logger: false })
    let isDown = true
    const handle: Handler = () => {
      if (isDown) throw new Error('the provider is down')
    }
    bus.consume('orders.placed', handle, { retry: false })
    await bus.start()
    const died = bus.events.once('deadLetter')
    const { id } = await bus.publish('orders.placed', { orderId: 'ord-1' })
    await died

    const line = `${id}: exhausted after 1 attempts, Error: the provider is down\n`
    expect(await script('orders.placed', 'billing')).toBe(`${line}1 would be sent back to billing: add --go to do it\n`)
    expect(await script('orders.placed', 'biling')).toMatch(
      /topic "orders.placed" has no group "biling"; its groups are: "billing"\n0 would be/,
    )
    isDown = false
    const handled = bus.events.once('ack', { filter: ({ message }) => message.id === id })
    expect(await script('orders.placed', 'billing', '--go')).toBe(`${line}1 sent back to billing, 0 not confirmed\n`)
    await handled
    await expect(script('orders.placed')).rejects.toThrow('usage: redrive <topic> <group> [--go]')
  })

  it('test a handler', async () => {
    const output = await run('how-to/test-a-handler.ts')
    expect(output).toMatch(/pass 2\b/)
    expect(output).toMatch(/fail 0\b/)
  })
})
