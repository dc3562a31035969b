import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { parseFootprintArguments } from '../../../bench/footprint/arguments.ts'
import { footprintTable } from '../../../bench/footprint/footprint-table.ts'
import { processFigures } from '../../../bench/footprint/process-figures.ts'

describe('the arguments of the footprint benchmark', () => {
  test('have defaults', () => {
    const { brokers, topics, groups, seconds } = parseFootprintArguments([])
    assert.deepEqual([brokers, topics, groups, seconds], [['rabbitmq', 'nats', 'redis'], [1, 10, 100], 3, 20])
  })

  test.each([[['kafka']], [['--topics', '1,x']], [['--groups', '0']], [['--rounds', '3']]])(
    '%j are refused',
    (argv) => {
      assert.throws(() => parseFootprintArguments(argv), { name: 'Error', message: /kafka|whole numbers|--rounds/ })
    },
  )
})

test('a footprint is a line with the columns of its broker', () => {
  const row = {
    who: 'busbar',
    topics: 10,
    groups: 3,
    startSeconds: 1.26,
    objects: { keys: 70 },
    connections: 5,
    rates: { 'commands/s': 11.04 },
    clientCpuPercent: 0.126,
    clientRssMb: 99.6,
    serverCpuPercent: 1,
    serverRssMb: 12,
  }
  const [head, , line] = footprintTable([row]).split('\n')
  assert.match(head ?? '', /keys \| connections \| commands\/s/)
  assert.equal(line, '| 10 × 3 | **busbar** | 1.3 | 70 | 5 | 11.0 | 0.13 | 100 | 1.00 | 12 |')
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
