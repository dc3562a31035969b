import { describe, expect, it } from 'vitest'
import type { OutgoingMessage } from '../../../src/core/message.ts'
import { PublishError } from '../../../src/core/errors.ts'
import { PartitionSettlement } from '../../../src/core/partitions/settlement.ts'
import type { SettlementHost } from '../../../src/core/partitions/settlement.ts'
import type { Delivery } from '../../../src/core/transport.ts'
import { capabilitiesOf } from '../../../src/transports/kafka/capabilities.ts'
import type { Partition } from '../../../src/transports/kafka/partitions/partition.ts'
import { kafka } from '../../../src/transports/kafka/index.ts'

const LETTER = { topic: 't.g.dlq' } as OutgoingMessage

/** Deliveries of one partition, and what is stored of their outcomes, in order. */
function setUp(hasAtomicLetters: boolean, results: (PublishError | undefined)[] = []) {
  const steps: string[] = []
  const owner = { mine: true, finish: (delivery: { place: number }) => void steps.push(`finish ${delivery.place}`) }
  const deliveries = [0, 1, 2].map((place) => ({ owner, place, lost: false, settled: false, attempt: 1 }))
  const host = {
    hasAtomicLetters,
    isHeld: () => true,
    now: () => 0,
    comesAgain: () => {},
    publishLetters: async (rejects: readonly unknown[]) => {
      steps.push(`letters ${rejects.length}`)
      return rejects.map(() => ({ position: undefined }))
    },
    ack: async (acks: readonly { readonly publish: readonly OutgoingMessage[] }[]) => {
      steps.push(`transaction ${acks.map(({ publish }) => publish[0]?.topic).join(' ')}`)
      return acks.map((_, at) => results[at])
    },
    changed: () => {},
    settled: () => {},
    whenStored: async () => true,
  } as unknown as SettlementHost<Partition>
  const settlement = new PartitionSettlement<Partition>(host)
  return { settlement, steps, deliveries: deliveries as unknown as Delivery[] }
}

describe('dead letters', () => {
  const rejected = (deliveries: readonly Delivery[]) =>
    deliveries.map((delivery) => ({ delivery, outcome: { type: 'reject', deadLetter: LETTER } as const }))

  it('of one batch are one transaction, with the commit of their sources', async () => {
    const { settlement, steps, deliveries } = setUp(true)
    expect(await settlement.settle(rejected(deliveries))).toEqual([])
    expect(steps).toEqual(['transaction t.g.dlq t.g.dlq t.g.dlq'])
  })

  it('are confirmed before their sources are finished, where that is not so', async () => {
    const { settlement, steps, deliveries } = setUp(false)
    expect(await settlement.settle(rejected(deliveries))).toEqual([])
    expect(steps).toEqual(['letters 3', 'finish 0', 'finish 1', 'finish 2'])
  })

  it('that can not be stored fail alone, and their sources stay unsettled', async () => {
    const error = new PublishError('full', { outcome: 'not-sent' })
    const { settlement, deliveries } = setUp(true, [undefined, error, undefined])
    expect(await settlement.settle(rejected(deliveries))).toEqual([{ index: 1, error }])
  })

  it('that are dropped need no transaction', async () => {
    const { settlement, steps, deliveries } = setUp(true)
    const [delivery] = deliveries as [Delivery]
    await settlement.settle([{ delivery, outcome: { type: 'reject', deadLetter: undefined } }])
    expect(steps).toEqual(['finish 0'])
  })
})

describe('the option transactions', () => {
  const capabilities = (transactions: boolean | undefined) => {
    const all = capabilitiesOf({ maxMessageBytes: 1_000, transactions })
    return [all.transactions, all.publishOnAck, all.atomicDeadLetters]
  }

  it('decides what the transport can do', () => {
    expect(capabilities(undefined)).toEqual([true, true, false])
    expect(capabilities(true)).toEqual([true, true, true])
    expect(capabilities(false)).toEqual([false, false, false])
    expect('transaction' in kafka({ transactions: false })).toBe(false)
    expect(kafka({ url: 'kafka://a?transactions=true' }).capabilities.atomicDeadLetters).toBe(true)
  })
})
