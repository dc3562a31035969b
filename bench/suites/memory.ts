import { atLeastPerSecond, atLeastTimes, atMost, atMostMoreCpu } from './goals.ts'
import type { Subject, Suite } from './suite.ts'

const IN_PROCESS = 'in process, objects passed by reference'

const MOLECULER: Subject = {
  name: 'moleculer',
  file: 'peers/moleculer.ts',
  guarantees: IN_PROCESS,
}
const P_QUEUE: Subject = { name: 'p-queue', file: 'peers/p-queue.ts', guarantees: IN_PROCESS }
const FASTQ: Subject = { name: 'fastq', file: 'peers/fastq.ts', guarantees: IN_PROCESS }
const NEST_TCP: Subject = {
  name: 'nestjs-tcp',
  file: 'peers/nestjs.ts',
  args: ['--broker=tcp'],
  guarantees: 'at most once, over a socket',
}
const NEST_NATS: Subject = {
  name: 'nestjs-nats',
  file: 'peers/nestjs.ts',
  args: ['--broker=nats'],
  services: ['nats'],
  guarantees: 'at most once, over a broker',
}

const AT_LEAST_ONCE = 'acked, retried, dead-lettered; lost with the process'

function ours(name: string, file: string, ...args: readonly string[]): Subject {
  // The next batch is sent while the last one is handled, and no further ahead: the peers have 1,000 on their way.
  const common = ['--transport=memory', '--backlog=2000']
  return { name, file: `cases/${file}`, args: [...common, ...args], guarantees: AT_LEAST_ONCE }
}

const BATCHES = ours('busbar', 'end-to-end.ts', '--publish=many', '--body=bytes', '--handler=batch')

const MANY_JSON = ours('busbar', 'end-to-end.ts', '--publish=many')

export const memorySuite: Suite = {
  name: 'memory',
  title: 'Memory transport',
  needsExport: './memory',
  cases: [
    {
      name: 'publish-many',
      title:
        'publishMany of 1,000, 100-byte JSON, concurrency 64: publish, async handler, ack, through codec and runtime',
      metric: 'msg/s',
      ours: MANY_JSON,
      peers: [MOLECULER, P_QUEUE, FASTQ, NEST_TCP, NEST_NATS],
      // A queue in the process encodes nothing: what it must not beat is our rate without JSON, below. NestJS over TCP has no
      // broker in between; it is here for orientation.
      goals: [atLeastPerSecond(500_000), atLeastTimes(0.45, 'moleculer'), atLeastTimes(10, 'nestjs-nats')],
    },
    {
      name: 'publish-single',
      title: 'Awaited single publishes, 1,000 outstanding, 100-byte JSON, concurrency 64',
      metric: 'msg/s',
      ours: ours('busbar', 'end-to-end.ts', '--publish=single'),
      peers: [MOLECULER, P_QUEUE, FASTQ, NEST_TCP, NEST_NATS],
      goals: [atLeastPerSecond(150_000)],
    },
    {
      name: 'bytes',
      title: 'publishMany of 1,000, 100 bytes in and out (no JSON), concurrency 64',
      metric: 'msg/s',
      ours: ours('busbar', 'end-to-end.ts', '--publish=many', '--body=bytes'),
      peers: [MOLECULER, P_QUEUE, FASTQ],
      goals: [atLeastPerSecond(1_200_000), atLeastTimes(1, 'moleculer'), atLeastTimes(1, 'p-queue')],
    },
    {
      name: 'keyed',
      title: 'As publish-many, 100 keys, each handled in order',
      metric: 'msg/s',
      ours: ours('busbar', 'end-to-end.ts', '--publish=many', '--keys=100'),
      references: [{ ...MANY_JSON, name: 'busbar, no keys' }],
      peers: [],
      goals: [],
    },
    {
      name: 'middlewares',
      title: 'As publish-many, behind three async middlewares',
      metric: 'msg/s',
      ours: ours('busbar', 'end-to-end.ts', '--publish=many', '--middlewares=3'),
      references: [{ ...MANY_JSON, name: 'busbar, no middleware' }],
      peers: [],
      goals: [atMostMoreCpu(0.5, 'busbar, no middleware')],
    },
    {
      name: 'runtime-overhead',
      title: 'Batch handler, bytes, publishMany of 1,000: the whole runtime against the bare transport contract',
      metric: 'msg/s',
      ours: BATCHES,
      references: [
        {
          ...ours('bare transport', 'bare-transport.ts'),
          guarantees: 'transport contract alone: no bus, codec or handler',
        },
        ours('busbar, sync handler', 'end-to-end.ts', '--publish=many', '--body=bytes', '--handler=sync'),
      ],
      peers: [],
      goals: [atMostMoreCpu(1, 'bare transport')],
    },
    {
      name: 'observed',
      title: 'As runtime-overhead, with an observer of publishes, batches and settlements and a publish middleware',
      metric: 'msg/s',
      ours: { ...BATCHES, args: [...(BATCHES.args ?? []), '--observers=1', '--publish-middlewares=1'] },
      references: [
        { ...BATCHES, name: 'busbar, unobserved' },
        { ...BATCHES, name: 'busbar, observer alone', args: [...(BATCHES.args ?? []), '--observers=1'] },
      ],
      peers: [],
      goals: [atMostMoreCpu(0.3, 'busbar, unobserved')],
    },
    {
      name: 'latency',
      title: '1,000 msg/s, publish call to handler, 100-byte JSON',
      metric: 'p99 ms',
      ours: ours('busbar', 'latency.ts'),
      peers: [
        { ...MOLECULER, args: ['--mode=latency'] },
        { ...NEST_TCP, args: ['--broker=tcp', '--mode=latency'] },
        { ...NEST_NATS, args: ['--broker=nats', '--mode=latency'] },
      ],
      goals: [atMost('p99Ms', 2, 'ms')],
    },
    {
      name: 'backlog',
      title: '1,000,000 messages through a consumer ten times slower than the publisher',
      metric: 'msg/s',
      ours: ours('busbar', 'backlog.ts', '--messages=1000000', '--times=1', '--publish-rate=500000'),
      peers: [],
      goals: [atMost('growthMb', 32, 'MB')],
      rounds: 1,
    },
  ],
}
