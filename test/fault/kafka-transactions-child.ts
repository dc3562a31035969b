// What consumer processes of kafka-transactions.soak.test.ts do.
import type { Transport } from 'busbar'
import { kafka } from 'busbar/kafka'
import type { ChildProgram } from 'busbar/testing'
import { QUICK } from '../conformance/kafka-suite.ts'

export interface TransactionsArgument {
  readonly topics: readonly string[]
  readonly group: string
  /** Each message is dead-lettered, instead of going on to the next topic. */
  readonly failing: boolean
}

export function create(): Transport {
  const { BUSBAR_TEST_KAFKA: url = '', BUSBAR_TEST_TRANSACTIONS: transactions } = process.env
  // Left to the brokers, an open transaction would hold up the others for longer than the tests allow.
  return kafka({ ...QUICK, url, transactionTimeoutMs: 60_000, transactions: transactions !== 'false' })
}

export const run: ChildProgram<TransactionsArgument> = (bus, record, { topics, group, failing }) => {
  for (const [at, topic] of topics.entries()) {
    const next = topics[at + 1]
    if (failing)
      bus.consume(
        topic,
        (message) => {
          record('start', String(message.data))
          throw new Error('always')
        },
        { group, concurrency: 20, retry: false },
      )
    else if (next !== undefined)
      bus.consume(
        topic,
        async (message, ctx) => {
          // One in ten fails once, and takes nobody with it.
          if (Number(message.data) % 10 === at && ctx.attempt === 1) throw new Error('once')
          await ctx.publish(next, message.data, { key: message.key })
        },
        { group: `${group}-${at}`, concurrency: 50, guarantee: 'exactly-once', retry: { baseMs: 5 } },
      )
  }
  return undefined
}
