import { expect, test } from 'vitest'
import { childProgram } from '../../src/testing/child-process.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { waitUntil } from '../../src/testing/wait-until.ts'
import { defer, lagOf, many, newFile, open, query, store } from './sqlite-harness.ts'

const random = seededRandom(process.env['BUSBAR_TEST_SEED'] ?? 'on-ack')
const COUNT = 2_500

test.each([
  ['publishOnAck', { publishOnAck: true }],
  ['exactly-once', { guarantee: 'exactly-once' }],
])(
  '%s: a consumer killed at any instant: each message has exactly one output, in order',
  async (_name, argument) => {
    const path = newFile()
    const { transport } = await open(path)
    await transport.admin.ensureTopic('outputs')
    const outputs = (): number =>
      (query(path, "SELECT messages FROM topics WHERE name = 'outputs'")[0] as { messages?: number } | undefined)
        ?.messages ?? 0
    const start = async (): ReturnType<typeof childProgram> => {
      const child = await childProgram({
        module: new URL('../conformance/sqlite-child.ts', import.meta.url),
        program: new URL('publish-on-ack-program.ts', import.meta.url),
        argument,
        env: { BUSBAR_TEST_SQLITE: path },
      })
      defer(async () => child[Symbol.asyncDispose]())
      return child
    }
    let child = await start()
    const sent = many(COUNT, 'inputs', (index) => ({ id: `s${index}`, key: `k${index % 5}` }))
    for (let at = 0; at < sent.length; at += 500) await store(transport, sent.slice(at, at + 500))
    for (let kill = 0; kill < 4; kill++) {
      const before = outputs()
      await waitUntil(() => outputs() > before, { timeoutMs: 30_000 })
      await child.killAtRandom(random, 30)
      child = await start()
    }
    await waitUntil(async () => (await lagOf(transport, 'inputs', 'g')) === 0, { timeoutMs: 60_000 })
    const stored = await transport.admin.read('outputs', { limit: 2 * COUNT })
    const inputs = stored.map(({ message }) => JSON.parse(Buffer.from(message.body ?? []).toString()) as string)
    expect(inputs.toSorted()).toEqual(sent.map(({ id }) => id).toSorted())
    for (let key = 0; key < 5; key++) {
      const numbers = stored.flatMap(({ message }, at) =>
        message.key === `k${key}` ? [Number(inputs[at]?.slice(1))] : [],
      )
      expect(numbers).toEqual(numbers.toSorted((a, b) => a - b))
    }
  },
  120_000,
)
