import { randomUUID } from 'node:crypto'
import type { JetStreamApi } from './jetstream-api.ts'
import type { ConsumerConfig, ConsumerInfo } from './jetstream-types.ts'

const NANOS = 1_000_000
/** After this time the server deletes the counting consumer by itself, if we can't. */
const INACTIVE_MS = 5_000

/** A consumer that reads nothing: the server counts for it. */
async function countingConsumer(
  api: JetStreamApi,
  stream: string,
  filters: readonly string[],
  start: Pick<ConsumerConfig, 'deliver_policy' | 'opt_start_seq' | 'opt_start_time'>,
): Promise<ConsumerInfo> {
  const name = `busbar-count-${randomUUID()}`
  const info = await api.createConsumer(stream, name, {
    name,
    description: 'Busbar: counting',
    ...start,
    ack_policy: 'none',
    ...(filters.length === 1 ? { filter_subject: filters[0] } : { filter_subjects: filters }),
    replay_policy: 'instant',
    inactive_threshold: INACTIVE_MS * NANOS,
    mem_storage: true,
    num_replicas: 1,
  })
  await api.deleteConsumer(stream, name)
  return info
}

/** How many messages are in the stream from that sequence on. */
export async function countFrom(
  api: JetStreamApi,
  stream: string,
  filters: readonly string[],
  seq: number,
): Promise<number> {
  const start = { deliver_policy: 'by_start_sequence', opt_start_seq: Math.max(1, seq) } as const
  return (await countingConsumer(api, stream, filters, start)).num_pending
}

/** Sequence of the last message that was stored before that time (ms since 1970); 0 when there is none. */
export async function sequenceBefore(
  api: JetStreamApi,
  stream: string,
  filters: readonly string[],
  timeMs: number,
): Promise<number> {
  const opt_start_time = new Date(Math.max(0, timeMs)).toISOString()
  const { delivered } = await countingConsumer(api, stream, filters, {
    deliver_policy: 'by_start_time',
    opt_start_time,
  })
  return delivered.stream_seq
}
