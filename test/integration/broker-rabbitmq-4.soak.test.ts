import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { startPrivate } from '../../tools/brokers/index.ts'
import { listProcesses } from '../../tools/brokers/process-list.ts'
import { skipIfMissing } from './broker-helpers.ts'
import { checkCluster } from './cluster-test.ts'

// Among the soaks because the first run fetches a Debian of 400 MB.
const SLOW = { timeout: 900_000 }

test('rabbitmq comes as 4.x, and leaves neither a mount nor a process', SLOW, async (context) => {
  const broker = await skipIfMissing(context, startPrivate('rabbitmq', { version: '4' }))
  expect(broker.version).toMatch(/^4\./)
  expect((await broker.ctl('--silent', 'version')).trim()).toBe(broker.version)
  await broker.kill()
  await broker.restart()
  expect(await broker.healthy()).toBe(true)
  await broker.stop()
  expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain('rabbitmq-4')
  expect(listProcesses().filter(({ pid }) => commandOf(pid).includes(broker.dataDir))).toEqual([])
})

test('rabbitmq 4 runs three nodes, of which one may die and come back', SLOW, async (context) => {
  await using cluster = await skipIfMissing(context, startPrivate('rabbitmq', { version: '4', nodes: 3 }))
  expect(cluster.version).toMatch(/^4\./)
  await checkCluster(cluster.nodes)
})

test('an unknown version of rabbitmq is refused', async () => {
  const before = process.env['BUSBAR_RABBITMQ_VERSION']
  process.env['BUSBAR_RABBITMQ_VERSION'] = '2.8'
  try {
    await expect(startPrivate('rabbitmq')).rejects.toThrow('BUSBAR_RABBITMQ_VERSION is "2.8"; it can be debian, 4')
  } finally {
    if (before === undefined) delete process.env['BUSBAR_RABBITMQ_VERSION']
    else process.env['BUSBAR_RABBITMQ_VERSION'] = before
  }
})

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    // It has ended meanwhile.
    return ''
  }
}
