import { afterAll, beforeAll } from 'vitest'
import type { TestContext } from 'vitest'
import { BrokerError } from '../../tools/brokers/errors.ts'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { KafkaBroker, KafkaOptions } from '../../tools/brokers/index.ts'
import { unlessMissing } from './broker-helpers.ts'

export interface KafkaOfTests {
  /** The broker; skips the test, and says why, where this machine can't have it. */
  of(context: TestContext): KafkaBroker
  /** For hooks, which can't be skipped; undefined where this machine can't have it. */
  readonly started: KafkaBroker | undefined
}

/** A Kafka for the tests of one file, or of one `describe`: started before them, stopped after them. */
export function useKafka(options: KafkaOptions = {}): KafkaOfTests {
  let starting: KafkaBroker | BrokerError | undefined

  beforeAll(async () => {
    starting = await unlessMissing(startPrivate('kafka', options))
  }, 300_000)

  afterAll(async () => {
    if (!(starting instanceof BrokerError)) await starting?.stop()
  })

  return {
    of: (context) => {
      if (starting === undefined) throw new Error('no broker was started')
      return starting instanceof BrokerError ? context.skip(starting.message) : starting
    },
    get started() {
      return starting instanceof BrokerError ? undefined : starting
    },
  }
}

/** Where clients start: every node, without TLS and SASL. */
export function addressesOf(broker: KafkaBroker): string[] {
  return broker.nodes.map(({ host, port }) => `${host}:${port}`)
}
