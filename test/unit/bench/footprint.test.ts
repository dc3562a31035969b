import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { parseFootprintArguments } from '../../../bench/footprint/arguments.ts'
import { footprintTable } from '../../../bench/footprint/footprint-table.ts'
import type { Footprint } from '../../../bench/footprint/measure-footprint.ts'
import { processFigures } from '../../../bench/footprint/process-figures.ts'

describe('the arguments of the footprint benchmark', () => {
  test('have defaults', () => {
    const { brokers, topics, groups, seconds } = parseFootprintArguments([])
    assert.deepEqual([brokers, topics, groups, seconds], [['rabbitmq', 'nats', 'redis', 'kafka'], [1, 10, 100], 3, 20])
  })

  test.each([[['postgres']], [['--topics', '1,x']], [['--groups', '0']], [['--rounds', '3']]])(
    '%j are refused',
    (argv) => {
      assert.throws(() => parseFootprintArguments(argv), { name: 'Error', message: /postgres|whole numbers|--rounds/ })
    },
  )
})

const row: Footprint = {
  who: 'busbar',
  task: { topics: 10, groups: 3, members: 1, keys: 0, options: '' },
  startSeconds: 1.26,
  started: { commands: 200 },
  objects: { keys: 70 },
  connections: 5,
  rates: { commands: 11.04 },
  clientCpuPercent: 0.126,
  clientRssMb: 99.6,
  serverCpuPercent: 1,
  serverRssMb: 12,
  handOver: undefined,
}

test('a footprint is a line with the columns of its broker', () => {
  const [head, , line] = footprintTable([row]).split('\n')
  assert.match(head ?? '', /keys \| connections \| commands\/s/)
  assert.equal(line, '| 10 × 3 | **busbar** | 1.3 | 70 | 5 | 11.0 | 0.13 | 100 | 1.00 | 12 |')
})

test('the line of a group with several members says what starting, joining and leaving took', () => {
  const handOver = { joinMs: 30.4, firstMs: undefined, joinWaitMs: 250, leaveMs: 12, leaveWaitMs: 80 }
  const shared = { ...row, task: { ...row.task, members: 50, keys: 9, options: 'partitions=64' }, handOver }
  const [head, , line] = footprintTable([shared]).split('\n')
  assert.match(head ?? '', /commands to start \| keys .* join ms \| first message ms/)
  assert.match(
    line ?? '',
    /10 × 3, 50 members, 9 keys, partitions=64 .* 1\.3 \| 200 \| 70 .* 30 \| – \| 250 \| 12 \| 80 \|$/,
  )
})

test.runIf(process.platform === 'linux')('the figures of a process are those of the system', () => {
  const before = processFigures(process.pid)
  const until = process.cpuUsage().user + 60_000
  while (process.cpuUsage().user < until);
  const after = processFigures(process.pid)
  assert.ok(after.cpuMs - before.cpuMs >= 40, `${after.cpuMs - before.cpuMs} ms of CPU`)
  assert.ok(Math.abs(after.rssMb - process.memoryUsage.rss() / 2 ** 20) < 30)
  assert.ok(after.written > 0)
})
