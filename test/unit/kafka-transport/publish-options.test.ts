import { describe, expect, it } from 'vitest'
import type { OutgoingMessage } from '../../../src/core/message.ts'
import { NO_HEADERS } from '../../../src/core/message.ts'
import type { ProducerOptions } from '../../../src/kafka/index.ts'
import type { KafkaContext } from '../../../src/transports/kafka/context.ts'
import { checkPublishOptions } from '../../../src/transports/kafka/publish/publish-options.ts'
import { KafkaPublisher } from '../../../src/transports/kafka/publish/publisher.ts'

interface Sent {
  readonly acks: unknown
  readonly ackTimeoutMs: unknown
  readonly partitions: readonly (number | undefined)[]
}

function setUp(options: ProducerOptions = { acks: 'all' }) {
  const sent: Sent[] = []
  let made = 0
  let closed = 0
  const client = {
    producer: ({ acks, ackTimeoutMs }: ProducerOptions) => {
      made++
      return {
        sendMany: async (_topic: string, records: readonly { readonly partition?: number }[]) => {
          sent.push({ acks, ackTimeoutMs, partitions: records.map(({ partition }) => partition) })
          return [{ partition: 0, baseOffset: 0, indexes: () => records.map((_, at) => at) }]
        },
        close: async () => void closed++,
      }
    },
  }
  const context = {
    client,
    options: { producer: options, maxMessageBytes: 1_000_000 },
    mapping: { encode: () => ({ key: null, value: null, headers: [] }) },
    topics: { isKnown: () => true },
  } as unknown as KafkaContext
  const publisher = new KafkaPublisher(context)
  const publish = (...natives: readonly (object | undefined)[]) =>
    publisher.publish(
      natives.map((native) => ({ topic: 't', headers: NO_HEADERS, body: null, native }) as unknown as OutgoingMessage),
      undefined,
    )
  const counts = () => ({ made, closed })
  return { publisher, publish, sent, counts }
}

describe('options of one message', () => {
  it('choose its partition, within the same batch', async () => {
    const { publish, sent } = setUp()
    await publish({ partition: 2 }, undefined, { partition: 0 })
    expect(sent).toEqual([{ acks: 'all', ackTimeoutMs: undefined, partitions: [2, undefined, 0] }])
  })

  it('choose what confirms it: a producer for each combination, and none for the usual one', async () => {
    const { publish, sent, counts, publisher } = setUp({ acks: 'all', ackTimeoutMs: 15_000 })
    await publish({ acks: 'all' }, { acks: 1 }, { ackTimeoutMs: 15_000 }, { ackTimeoutMs: 100 }, { acks: 1 })
    expect(sent.map(({ acks, ackTimeoutMs, partitions }) => [acks, ackTimeoutMs, partitions.length])).toEqual([
      ['all', 15_000, 1],
      [1, 15_000, 2],
      ['all', 15_000, 1],
      ['all', 100, 1],
    ])
    expect(counts()).toEqual({ made: 3, closed: 0 })
    await publisher.close(100)
    expect(counts()).toEqual({ made: 3, closed: 3 })
  })

  it('do not make producers without end: one combination too many fails alone, and was not sent', async () => {
    const { publish, sent } = setUp()
    const outcomes = await publish(...Array.from({ length: 10 }, (_, at) => ({ ackTimeoutMs: 100 + at })))
    expect(outcomes.filter(({ error }) => error === undefined)).toHaveLength(8)
    expect(outcomes[9]?.error).toMatchObject({ outcome: 'not-sent', retryable: false })
    expect(sent).toHaveLength(8)
  })

  it('do not weaken a dead letter or a copy: all replicas confirm it', async () => {
    const { publisher, sent } = setUp({ acks: 0 })
    const copy = { topic: 't', headers: NO_HEADERS, body: null, group: 'g' } as unknown as OutgoingMessage
    await publisher.publish([copy], undefined)
    expect(sent.map(({ acks }) => acks)).toEqual(['all'])
  })

  it.each([
    [{ partition: -1 }, 'native.partition'],
    [{ partition: 1.5 }, 'native.partition'],
    [{ acks: 2 }, 'native.acks'],
    [{ ackTimeoutMs: 0 }, 'native.ackTimeoutMs'],
    [{ partion: 1 }, 'native.partion'],
    ['1', 'native'],
  ])('%j is refused, by its name', (native, path) => {
    let problems: readonly unknown[] = []
    try {
      checkPublishOptions(native)
    } catch (error) {
      ;({ problems } = error as { readonly problems: readonly unknown[] })
    }
    expect(problems).toMatchObject([{ path }])
  })

  it('that are right are taken', () => {
    expect(() => checkPublishOptions({ partition: 0, acks: 0, ackTimeoutMs: 1 })).not.toThrow()
  })
})
