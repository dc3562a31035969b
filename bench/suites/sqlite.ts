import { atLeastPerSecond, atMost } from './goals.ts'
import type { ServiceName, Subject, Suite } from './suite.ts'

const FULL = 'fsync before each confirmation (synchronous: full, the default); at least once'
const NORMAL = 'synchronous: normal: survives the process, not a power cut; at least once'

function ours(name: string, file: string, ...args: readonly string[]): Subject {
  return { name, file: `cases/${file}`, args: ['--transport=sqlite', ...args], guarantees: FULL }
}

/** The same without waiting for the disk. */
function unsynced(subject: Subject): Subject {
  const options = JSON.stringify({ synchronous: 'normal' })
  const args = [...(subject.args ?? []), `--transport-options=${options}`]
  return { ...subject, name: 'busbar, synchronous: normal', args, guarantees: NORMAL }
}

const PUBLISH = ours('busbar', 'publish.ts')
const CONSUME = ours('busbar', 'consume.ts')
const END_TO_END = ours('busbar', 'end-to-end.ts')

function peer(name: string, file: string, service: ServiceName, guarantees: string) {
  return (mode: string): Subject => ({
    name,
    file: `peers/${file}`,
    args: [`--mode=${mode}`],
    services: [service],
    guarantees,
  })
}

const bullmq = peer('bullmq', 'bullmq.ts', 'redis', 'Redis append-only file, fsync each second; at least once')
const pgBoss = peer('pg-boss', 'pg-boss.ts', 'postgres', 'PostgreSQL, fsync at each commit; at least once')

export const sqliteSuite: Suite = {
  name: 'sqlite',
  title: 'SQLite transport',
  needsExport: './sqlite',
  cases: [
    {
      name: 'publish',
      title: 'publishMany of 1,000, 100-byte JSON, each batch committed before the next',
      metric: 'msg/s',
      ours: PUBLISH,
      references: [unsynced(PUBLISH)],
      peers: [bullmq('publish'), pgBoss('publish')],
      goals: [atLeastPerSecond(60_000)],
    },
    {
      name: 'consume',
      title: 'A filled topic: deliver, async handler, ack, concurrency 64',
      metric: 'msg/s',
      ours: CONSUME,
      references: [unsynced(CONSUME)],
      peers: [bullmq('consume'), pgBoss('consume')],
      goals: [atLeastPerSecond(40_000)],
    },
    {
      name: 'end-to-end',
      title: 'publishMany of 1,000, async handler, ack, in one process, concurrency 64',
      metric: 'msg/s',
      ours: END_TO_END,
      references: [unsynced(END_TO_END)],
      peers: [bullmq('e2e'), pgBoss('e2e')],
      goals: [],
    },
    {
      name: 'publish-single',
      title: 'Awaited single publishes, 1,000 outstanding, handler, ack, in one process',
      metric: 'msg/s',
      ours: ours('busbar', 'end-to-end.ts', '--publish=single'),
      peers: [],
      goals: [],
    },
    {
      name: 'latency',
      title: '1,000 msg/s, publish call to handler, 100-byte JSON',
      metric: 'p99 ms',
      ours: ours('busbar', 'latency.ts'),
      peers: [bullmq('latency')],
      goals: [],
    },
    {
      name: 'backlog',
      title: '1,000,000 messages (250,000 with --quick) through a consumer ten times slower than the publisher',
      metric: 'msg/s',
      ours: ours('busbar', 'backlog.ts', '--times=5', '--publish-rate=50000'),
      peers: [],
      goals: [atMost('growthMb', 32, 'MB')],
      rounds: 1,
    },
  ],
}
