import { describe, expect, it } from 'vitest'
import type { ScriptRunner } from '../../../src/transports/redis/connection/script-runner.ts'
import { GroupLooks } from '../../../src/transports/redis/partitions/group-looks.ts'
import type { GroupToLookAt } from '../../../src/transports/redis/partitions/group-looks.ts'

/** Replies with the number of the group as its revision. */
function setUp({
  cluster = false,
  failing = () => false,
}: { cluster?: boolean; failing?: (call: number) => boolean } = {}) {
  const calls: { readonly keys: readonly string[]; readonly args: readonly string[] }[] = []
  const scripts = {
    async run(_script: unknown, keys: readonly string[], args: readonly string[]) {
      calls.push({ keys, args })
      if (failing(calls.length)) throw new Error('the reply was lost')
      return keys.filter((key) => key.startsWith('a')).map((key) => [Buffer.from(key.slice(1)), key === 'a1' ? 0 : 1])
    },
  } as unknown as ScriptRunner
  return { looks: new GroupLooks(scripts, { cluster }), calls }
}

const group = (number: number, beside = 2): GroupToLookAt => ({
  assignment: `a${number}`,
  hashes: [`h${number}`],
  beside: Array.from({ length: beside }, (_, at) => `b${number}.${at}`),
})

describe('looks at groups', () => {
  it('ask for all groups of a turn at once, and tell each what was found of it', async () => {
    const { looks, calls } = setUp()
    const found = await Promise.all([looks.look(group(0)), looks.look(group(1))])
    expect(calls).toEqual([
      { keys: ['a0', 'h0', 'b0.0', 'b0.1', 'a1', 'h1', 'b1.0', 'b1.1'], args: ['1', '1', '2', '1', '1', '2'] },
    ])
    expect(found).toEqual([
      { revision: '0', isAlone: true },
      { revision: '1', isAlone: false },
    ])
    await looks.look(group(2))
    expect(calls.length).toBe(2)
  })

  it('ask for no more than 1,000 keys at once, but for those of one group together', async () => {
    const { looks, calls } = setUp()
    await Promise.all([0, 1, 2, 3].map((number) => looks.look(group(number, number === 3 ? 2_000 : 400))))
    expect(calls.map(({ keys }) => keys.length)).toEqual([804, 402, 2_002])
  })

  it('ask for each group separately in a cluster', async () => {
    const { looks, calls } = setUp({ cluster: true })
    const without = { ...group(0), assignment: undefined }
    const [, found] = await Promise.all([looks.look(group(5)), looks.look(group(6))])
    expect(calls.length).toBe(2)
    expect(found).toEqual({ revision: '6', isAlone: true })
    await Promise.race([looks.look(without), new Promise((resolve) => setImmediate(() => setImmediate(resolve)))])
    expect(calls[2]?.args).toEqual(['0', '1', '2'])
  })

  it('fail for the groups of the script that failed, and for no others', async () => {
    const { looks } = setUp({ failing: (call) => call === 1 })
    const results = await Promise.allSettled([0, 1, 2].map((number) => looks.look(group(number, 400))))
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'fulfilled'])
  })
})
