import { randomUUID } from 'node:crypto'
import type { OutgoingMessage } from '../../src/core/message.ts'
import { Engine } from '../../src/transports/sqlite/worker/engine.ts'
import { StoredReader, toColumns } from '../../src/transports/sqlite/mapping.ts'
import { resolveSqliteOptions } from '../../src/transports/sqlite/options.ts'
import type { SqliteOptions } from '../../src/transports/sqlite/options.ts'
import { machineTime } from '../../src/transports/sqlite/worker/subscription-leases.ts'
import type { Command, Reply, SubscribeSpec } from '../../src/transports/sqlite/protocol.ts'
import type { StoreClock } from '../../src/transports/sqlite/worker/store.ts'
import type { Question } from '../../src/transports/sqlite/thread.ts'
import { waitUntil } from '../../src/testing/wait-until.ts'
import { defer } from './sqlite-harness.ts'

type Answer = Extract<Reply, { call: number }>

/** The work of a database thread without the thread: commands go in, replies come out, and the wall clock is the test's. */
export class TestEngine {
  readonly replies: Reply[] = []
  /** Replies are seen here at the very instant at which they leave. */
  onReply: (reply: Reply) => void = () => {}
  now = 1_000_000
  readonly #engine: Engine
  #lastCall = 0
  #closed = false

  constructor(path: string, given: Omit<SqliteOptions, 'path'> = {}) {
    const clock: StoreClock = { now: () => this.now, machine: machineTime }
    // Long leases keep the heartbeat out of the way.
    const options = resolveSqliteOptions({ path, leaseMs: 600_000, busyTimeoutMs: 50, retention: false, ...given })
    const hear = (replies: readonly Reply[]): void => {
      for (const reply of replies) {
        this.replies.push(reply)
        this.onReply(reply)
      }
    }
    this.#engine = new Engine({ options, instance: randomUUID() }, hear, () => (this.#closed = true), clock)
    defer(async () => {
      this.push({ kind: 'close', call: ++this.#lastCall })
      await waitUntil(() => this.#closed)
    })
  }

  /** All in one turn: they are worked on in one round. */
  push(...commands: Command[]): void {
    this.#engine.push(commands)
  }

  /** Asks all of it at once, and resolves to the answers in the same order. */
  async ask(...questions: Question[]): Promise<Answer[]> {
    const commands = questions.map((question): Command & { call: number } => ({ ...question, call: ++this.#lastCall }))
    this.push(...commands)
    return Promise.all(commands.map(({ call }) => this.#answer(call)))
  }

  #answer(call: number): Promise<Answer> {
    const isAnswer = (reply: Reply): reply is Answer => 'call' in reply && reply.call === call
    return waitUntil(() => this.replies.find(isAnswer), {
      intervalMs: 1,
      describe: () => `${this.replies.length} replies, and none to call ${call}`,
    })
  }

  /** Ids of what a subscription was given so far. */
  delivered(sub: number): string[] {
    return this.replies.flatMap((reply) => {
      if (reply.kind !== 'deliver' || reply.sub !== sub) return []
      const reader = new StoredReader(reply.batch)
      return Array.from({ length: reader.count }, (_, row) => reader.message(row).id)
    })
  }
}

export function publish(...messages: OutgoingMessage[]): Question {
  return { kind: 'publish', batch: toColumns(messages).columns }
}

export function subscribe(sub: number, given: Partial<SubscribeSpec> = {}): Question {
  const spec: SubscribeSpec = {
    topic: 'a',
    group: 'g',
    order: 'key',
    ephemeral: false,
    from: 'earliest',
    maxPerKey: Number.MAX_SAFE_INTEGER,
    consumerId: `consumer-${sub}`,
    ...given,
  }
  return { kind: 'subscribe', sub, spec }
}

export function settle(sub: number, tokens: readonly number[], outcome: number, delayMs = 0): Question {
  const count = tokens.length
  const outcomes = new Uint8Array(count).fill(outcome)
  const delays = new Float64Array(count).fill(delayMs)
  return {
    kind: 'settle',
    sub,
    tokens: Float64Array.from(tokens),
    outcomes,
    delays,
    used: undefined,
    messages: undefined,
    messageCounts: undefined,
  }
}

export function credit(sub: number, count: number): Command {
  return { kind: 'credit', sub, count, bytes: 1 << 26 }
}

/** Lets the event loop turn so often: an engine that has work does a round in each. */
export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}
