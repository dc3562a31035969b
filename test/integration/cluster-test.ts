import { expect } from 'vitest'
import { waitFor } from '../../tools/brokers/index.ts'
import type { BrokerNode } from '../../tools/brokers/index.ts'

/** Each node of three sees all; one that is killed is missed by the others, and comes back on its port. */
export async function checkCluster(nodes: readonly BrokerNode[]): Promise<void> {
  expect(nodes.map((node) => node.id)).toEqual([1, 2, 3])
  expect(new Set(nodes.map((node) => node.url)).size).toBe(3)
  expect(await Promise.all(nodes.map((node) => node.sees(3)))).toEqual([true, true, true])
  const [first, second] = nodes
  if (first === undefined || second === undefined) throw new Error('no nodes')

  // The first one: it is where clients start, and where a cluster often keeps what only one node has.
  const { url, pid } = first
  await first.kill()
  expect([await first.healthy(), first.pid]).toEqual([false, undefined])
  expect(await waitFor(async () => !(await second.sees(3)), { timeoutMs: 20_000 })).toBe(true)
  expect(await second.sees(2)).toBe(true)
  await first.restart()
  expect(first.url).toBe(url)
  expect(first.pid).not.toBe(pid)
  const whole = async (): Promise<boolean> => (await first.sees(3)) && second.sees(3)
  expect(await waitFor(whole, { timeoutMs: 30_000 })).toBe(true)

  await second.pause()
  expect(await second.healthy()).toBe(false)
  await second.resume()
  expect(await waitFor(() => second.healthy(), { timeoutMs: 10_000 })).toBe(true)
}
