import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const examples = join(import.meta.dirname, '../../examples')
let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'busbar-examples-test-'))
})

afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
})

/** Runs an example in an empty folder; interrupts it when the text appears. Resolves with all that it printed. */
function run(
  file: string,
  options: { readonly env?: NodeJS.ProcessEnv; readonly interruptAt?: string } = {},
): Promise<string> {
  const child = spawn(process.execPath, ['--conditions=busbar-source', join(examples, file)], {
    cwd: folder,
    env: { ...process.env, ...options.env },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
      if (options.interruptAt !== undefined && output.includes(options.interruptAt)) child.kill('SIGINT')
    })
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  child.on('error', reject)
  child.on('close', (code, signal) => {
    if (code === 0) resolve(output)
    else reject(new Error(`${file} ended with ${code ?? signal}: ${output}`))
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

  it('finish what runs when they are told to stop', async () => {
    expect(await run('how-to/shutdown.ts')).toBe(
      'working on sales\ndone\nclosed: what ran is finished, the rest is with the broker\n',
    )
  })
})
