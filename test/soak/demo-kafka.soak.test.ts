// The demo loses nothing on Kafka when a worker is killed, whichever it is and whenever: 20 runs, each with a seed of its own.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { KafkaBroker } from '../../tools/brokers/index.ts'
import { runDemo } from '../integration/run-demo.ts'

const RUNS = Number(process.env['BUSBAR_DEMO_RUNS'] ?? 20)
const ORDERS = 1_000

let broker: KafkaBroker
let folder: string

beforeAll(async () => {
  broker = await startPrivate('kafka')
  folder = mkdtempSync(join(tmpdir(), 'busbar-demo-soak-'))
})

afterAll(async () => {
  await broker.stop()
  rmSync(folder, { recursive: true, force: true })
})

test.for(Array.from({ length: RUNS }, (_, seed) => seed))(
  'accounts for every order with --kill --seed %i',
  { timeout: 300_000 },
  async (seed) => {
    const url = `${broker.url}?sessionTimeoutMs=6000`
    const args = ['--transport', url, '--orders', String(ORDERS), '--kill', '--seed', String(seed), '--json']
    const { code, stdout, stderr } = await runDemo(folder, args)
    expect(code, `${stdout}\n${stderr}`).toBe(0)
    const summary = JSON.parse(stdout) as Record<string, unknown>
    console.log(stdout.trim())
    expect(summary).toMatchObject({ placed: ORDERS, deadLettered: 1, missing: 0, shippedTwice: 0, killed: 1 })
  },
)
