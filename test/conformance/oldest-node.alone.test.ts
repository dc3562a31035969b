import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { ensurePeers, oldestNode } from '../peers/ensure-peers.ts'

const root = join(import.meta.dirname, '../..')
/** Reports of this run stay here: those in the project are of its own Node. */
let folder: string

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'busbar-oldest-node-'))
  await ensurePeers()
}, 600_000)

afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

it('memory and SQLite pass the conformance suite on the oldest Node that package.json allows', async (context) => {
  const node = oldestNode()
  // npm has no Node of that version for Windows and for Macs with Apple's processors. CI must not pass without it.
  if (node === undefined && process.env['CI'] === undefined) context.skip('npm has no such Node for this machine')
  expect(node, 'npm has no such Node for this machine').toBeDefined()

  const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { engines: { node: string } }
  const version = await run(node as string, ['--version'])
  expect(`>=${version.trim().slice(1)}`).toBe(`${engines.node}.0`)

  const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')
  const files = ['memory', 'sqlite'].map((name) => `test/conformance/${name}.test.ts`)
  const args = [vitest, 'run', '--root', root, '--maxWorkers', '2', '--reporter', 'dot', ...files]
  expect(await run(node as string, args)).toMatch(/Test Files\s+2 passed/)
}, 900_000)

/** Resolves with what the program printed; rejects with it when the program fails. */
function run(program: string, args: readonly string[]): Promise<string> {
  // The variables of the vitest that runs this test would make the other one take itself for a part of it.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(VITEST|TEST$|NODE_(?!COMPILE_CACHE))/.test(name)),
  )
  const child = spawn(program, args, { cwd: folder, env: { ...env, NO_COLOR: '1' }, stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      if (code === 0) resolve(output)
      else reject(new Error(`${program} ended with ${code ?? signal}:\n${output}`))
    })
  })
}
