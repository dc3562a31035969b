import { expect, test } from 'vitest'
import type { TestContext } from 'vitest'
import { createAdmin } from '../../src/kafka/admin/admin.ts'
import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import { Consumer } from '../../src/kafka/consumer/consumer.ts'
import type { AssignorName, ConsumerOptions } from '../../src/kafka/consumer/consumer-options.ts'
import type { KafkaError } from '../../src/kafka/errors.ts'
import { systemClock } from '../../src/kafka/network/clock.ts'
import { Producer } from '../../src/kafka/producer/producer.ts'
import type { Codec } from '../../src/kafka/records/batch-format.ts'
import type { KafkaRecord } from '../../src/kafka/records/record.ts'
import { waitFor } from '../../tools/brokers/index.ts'
import type { KafkaBroker } from '../../tools/brokers/index.ts'
import { KCAT_HEADERS } from '../peers/kafka/console-peers.ts'
import { consumeBy, produceBy } from '../peers/kafka/peer.ts'
import type { ConsumingPeer, Lack, Peer, PeerRecord } from '../peers/kafka/peer.ts'
import { skipIfMissing } from './broker-helpers.ts'
import { addressesOf } from './kafka-broker.ts'
import type { KafkaOfTests } from './kafka-broker.ts'
import { storedCodecs } from './kafka-reader.ts'

const LIMIT = { timeout: 180_000 }
const SOON = { timeoutMs: 60_000 }

const PARTITIONS = 4

function base64(bytes: Buffer | string): string {
  return Buffer.from(bytes).toString('base64')
}

function textOf(bytes: string | null): string {
  return Buffer.from(bytes ?? '', 'base64').toString()
}

/** Everything that a record may be, as far as the peer can say it: all compress well, so that they are compressed. */
function sampleRecords(codec: Codec, lacks: readonly Lack[]): PeerRecord[] {
  const isText = lacks.includes('text only')
  const headers: PeerRecord['headers'][] = [
    [],
    [['h', base64('one')]],
    [
      ['same', base64('first')],
      ['same', base64(Buffer.from([0, 255, 10]))],
    ],
    [['empty', ''], ['ümlaut', base64('ü')], ...(lacks.includes('null headers') ? [] : ([['null', null]] as const))],
  ]
  return Array.from({ length: 40 }, (_, index): PeerRecord => {
    const ownHeaders = isText ? KCAT_HEADERS : (headers[index % headers.length] ?? [])
    const value = Buffer.from(`${codec} ${index} ${'äbc'.repeat(50)}`)
    const bytes = index % 3 === 0 ? Buffer.concat([value, Buffer.from([0, 9, 10, 255, 254])]) : value
    return {
      partition: lacks.includes('own partition') ? null : index % 2,
      key: isText ? base64(`key ${index}`) : ([null, '', base64(Buffer.from([255, index]))][index % 3] ?? null),
      value: isText ? base64(value) : index % 7 === 3 ? null : index % 7 === 4 ? '' : base64(bytes),
      headers: ownHeaders,
      timestamp: 1_700_000_000_000 + index,
    }
  })
}

/** As far as it is the producer's choice, in the order of each partition. */
function comparable(records: readonly PeerRecord[], lacks: readonly Lack[] = []): unknown[] {
  const kept = records.map((record) => ({
    ...record,
    partition: lacks.includes('own partition') ? 0 : record.partition,
    timestamp: lacks.includes('own timestamp') ? 0 : record.timestamp,
  }))
  return kept.toSorted((a, b) => (a.partition ?? 0) - (b.partition ?? 0))
}

function peerRecordOf(partition: number, record: KafkaRecord): PeerRecord {
  const { key, value, headers, timestamp } = record
  return {
    partition,
    key: key === null ? null : base64(key),
    value: value === null ? null : base64(value),
    headers: headers.map((header) => [header.key, header.value === null ? null : base64(header.value)]),
    timestamp,
  }
}

let topics = 0

/** Our side of a test. */
class Ours {
  readonly broker: KafkaBroker
  readonly cluster: Cluster
  readonly #consumers: Consumer[] = []
  readonly #runs: Promise<void>[] = []

  constructor(broker: KafkaBroker) {
    this.broker = broker
    this.cluster = new Cluster({ brokers: addressesOf(broker), clientId: 'ours' })
  }

  async topic(partitions: number): Promise<string> {
    const name = `peers-${process.pid}-${topics++}`
    await createAdmin(this.cluster).topics.create([{ name, partitions }])
    this.cluster.track().add(name)
    for (let partition = 0; partition < partitions; partition++) await this.cluster.leader(name, partition)
    return name
  }

  async produce(topic: string, records: readonly PeerRecord[], compression: Codec = 'none'): Promise<void> {
    const producer = new Producer({ compression, lingerMs: 5 }, { cluster: this.cluster })
    const bytes = (text: string | null) => (text === null ? null : Buffer.from(text, 'base64'))
    await producer.sendMany(
      topic,
      records.map(({ partition, key, value, headers, timestamp }) => ({
        key: bytes(key),
        value: bytes(value),
        headers: headers.map(([name, text]) => ({ key: name, value: bytes(text) })),
        timestamp,
        ...(partition === null ? {} : { partition }),
      })),
    )
    await producer.close()
  }

  consume(topic: string, options: Partial<ConsumerOptions> = {}) {
    const context = { cluster: this.cluster, clock: systemClock, random: Math.random }
    const consumer = new Consumer(context, { topics: [topic], heartbeatIntervalMs: 500, maxWaitMs: 100, ...options })
    const records: PeerRecord[] = []
    const run = async () => {
      for await (const batch of consumer) {
        for (const record of batch) records.push(peerRecordOf(batch.partition, record))
        batch.done()
      }
    }
    this.#consumers.push(consumer)
    this.#runs.push(run())
    return { consumer, records }
  }

  async close(): Promise<void> {
    await Promise.all(this.#consumers.map((consumer) => consumer.close()))
    await Promise.all(this.#runs)
    this.cluster.close()
  }
}

/** The peer, or a skipped test where this machine can't have it. */
async function setUp(context: TestContext, kafka: KafkaOfTests, peer: Peer): Promise<Ours> {
  const broker = kafka.of(context)
  await skipIfMissing(context, peer.program('consume', { topic: 'none', group: 'none' }, broker))
  return new Ours(broker)
}

async function until(
  what: string | (() => string),
  isSo: () => boolean | Promise<boolean>,
  peer?: ConsumingPeer,
): Promise<void> {
  const check = () => {
    peer?.check()
    return isSo()
  }
  if ((await waitFor(check, SOON)) !== true) {
    throw new Error(`not within ${SOON.timeoutMs} ms: ${typeof what === 'string' ? what : what()}`)
  }
}

/** A group that nobody has joined yet. */
function unlessUnknown(error: KafkaError): undefined {
  if (error.code !== 'GROUP_ID_NOT_FOUND') throw error
}

/** Records of each compression there and back: bytes and headers are equal, and the batches are compressed as they were told. */
export function exchangeTest(kafka: KafkaOfTests, peer: Peer, codecs: readonly Codec[]): void {
  test(`exchange records with ${peer.name}: ${codecs.join(', ')}`, LIMIT, async (context) => {
    const ours = await setUp(context, kafka, peer)
    const { broker, cluster } = ours
    const { lacks } = peer
    const partitions = lacks.includes('own partition') ? 1 : 2
    for (const codec of codecs) {
      const theirs = await ours.topic(partitions)
      const records = sampleRecords(codec, lacks)
      await produceBy(peer, broker, { topic: theirs, compression: codec }, records)
      const reader = ours.consume(theirs)
      await until(
        () => `${codec} of theirs: ${reader.records.length}`,
        () => reader.records.length >= records.length,
      )
      expect(comparable(reader.records, lacks)).toEqual(comparable(records, lacks))
      expect(await storedCodecs(cluster, theirs)).toEqual([codec])
    }
    const mine = await ours.topic(partitions)
    const all = codecs.flatMap((codec) => sampleRecords(codec, lacks))
    for (const codec of codecs) await ours.produce(mine, sampleRecords(codec, lacks), codec)
    expect(await storedCodecs(cluster, mine)).toEqual(codecs)
    const reading = await consumeBy(peer, broker, { topic: mine, group: mine })
    await until('all of ours', () => reading.records.length >= all.length, reading)
    await reading.stop()
    const partitionless = lacks.filter((lack) => lack === 'own partition')
    expect(comparable(reading.records, partitionless)).toEqual(comparable(all, partitionless))
    await ours.close()
  })
}

/** Of transactions that either side has committed or aborted, the other reads the committed ones. */
export function transactionTest(kafka: KafkaOfTests, peer: Peer): void {
  test(`read what ${peer.name} has committed, and it what we have, and nothing aborted`, LIMIT, async (context) => {
    const ours = await setUp(context, kafka, peer)
    const { broker, cluster } = ours
    const made = (text: string) =>
      Array.from({ length: 20 }, (_, index): PeerRecord => {
        const value = base64(`${text} ${index}`)
        return { partition: index % 2, key: value, value, headers: [], timestamp: 1_700_000_000_000 }
      })
    const turns = [
      ['first', 'commit'],
      ['second', 'abort'],
      ['third', 'commit'],
    ] as const
    const valuesOf = (records: readonly PeerRecord[]) => records.map(({ value }) => value ?? '').toSorted()
    const expected = valuesOf([...made('first'), ...made('third')])

    const theirs = await ours.topic(2)
    for (const [text, transaction] of turns) await produceBy(peer, broker, { topic: theirs, transaction }, made(text))
    const reader = ours.consume(theirs)
    await until('what they have committed', () => reader.records.length >= expected.length)
    expect(valuesOf(reader.records)).toEqual(expected)

    const mine = await ours.topic(2)
    const producer = new Producer({ transactionalId: mine }, { cluster })
    for (const [text, transaction] of turns) {
      const running = producer.transaction(async (tx) => {
        const records = made(text).map(({ partition, value }) => ({ partition: partition ?? 0, value: textOf(value) }))
        await tx.sendMany(mine, records)
        if (transaction === 'abort') throw new Error('aborted')
      })
      await (transaction === 'abort' ? expect(running).rejects.toThrow('aborted') : running)
    }
    await producer.close()
    const reading = await consumeBy(peer, broker, { topic: mine, group: mine })
    await until('what we have committed', () => reading.records.length >= expected.length, reading)
    await reading.stop()
    expect(valuesOf(reading.records)).toEqual(expected)
    await ours.close()
  })
}

/** Keys go to the same partitions, whoever produces. */
export function partitionerTest(kafka: KafkaOfTests, peer: Peer): void {
  test(`put keys where ${peer.name} puts them`, LIMIT, async (context) => {
    const ours = await setUp(context, kafka, peer)
    const records = Array.from({ length: 64 }, (_, index): PeerRecord => {
      const key = base64(`${'k'.repeat(index % 9)}${index}`)
      return { partition: null, key, value: base64('v'), headers: KCAT_HEADERS, timestamp: 1_700_000_000_000 }
    })
    const placesIn = async (topic: string) => {
      const reader = ours.consume(topic)
      await until(
        () => `all keys of ${topic}`,
        () => reader.records.length >= records.length,
      )
      return new Map(reader.records.map(({ key, partition }) => [key, partition]))
    }
    const [mine, theirs] = [await ours.topic(7), await ours.topic(7)]
    await ours.produce(mine, records)
    await produceBy(peer, ours.broker, { topic: theirs }, records)
    expect(await placesIn(theirs)).toEqual(await placesIn(mine))
    await ours.close()
  })
}

/**
 * We and the peer in one group, each of us first once, and so its leader: both get a share, every record is read once, and
 * whoever stays goes on where the other has stopped.
 */
export function groupTest(kafka: KafkaOfTests, peer: Peer, index: number): void {
  const { protocol, assignor } = peer.groups[index] ?? { protocol: 'classic' }
  const assignors = assignor === undefined ? {} : { assignors: [assignor as AssignorName] }
  test(`share a ${assignor ?? ''} group of the protocol ${protocol} with ${peer.name}`, LIMIT, async (context) => {
    const ours = await setUp(context, kafka, peer)
    const { broker } = ours
    const { groups } = createAdmin(ours.cluster)
    for (const isFirst of [true, false]) {
      const topic = await ours.topic(PARTITIONS)
      const settings = { topic, group: topic, protocol, ...(assignor === undefined ? {} : { assignor }) }
      const sharesAre = async (shares: readonly number[]) => {
        const group = await groups.describe(topic).catch(unlessUnknown)
        const found = group?.members.map((each) => each.assignment.flatMap(({ partitions }) => partitions).length) ?? []
        return group?.state === 'Stable' && found.toSorted((a, b) => a - b).join() === shares.join()
      }
      let round = 0
      const sent: string[] = []
      const send = async () => {
        const from = sent.length
        const records = Array.from({ length: 200 }, (_, at): PeerRecord => {
          const value = base64(`${round} ${from + at}`)
          return { partition: at % PARTITIONS, key: value, value, headers: [], timestamp: 1_700_000_000_000 }
        })
        round++
        sent.push(...records.map(({ value }) => value ?? ''))
        await ours.produce(topic, records)
      }
      const join = () => ours.consume(topic, { group: topic, protocol, ...assignors })
      let mine = isFirst ? join() : undefined
      if (isFirst) await until('we have joined', () => sharesAre([PARTITIONS]))
      const theirs = await consumeBy(peer, broker, settings)
      if (!isFirst) await until('they have joined', () => sharesAre([PARTITIONS]), theirs)
      mine ??= join()
      const { consumer, records } = mine
      await until('both have their shares', () => sharesAre([PARTITIONS / 2, PARTITIONS / 2]), theirs)
      await until('we have ours', () => consumer.assignment.length === PARTITIONS / 2)
      const values = () => [...records, ...theirs.records].map(({ value }) => value ?? '')
      const areRead = () => values().length >= sent.length
      await send()
      const progress = () =>
        JSON.stringify({
          isFirst,
          sent: sent.length,
          ours: records.length,
          theirs: theirs.records.length,
          positions: consumer.positions,
        })
      await until(() => `all is read by both: ${progress()}`, areRead, theirs)
      expect(records.length).toBe(100)
      if (isFirst) await theirs.stop()
      else await consumer.close()
      await until('the one that stays has all', () => sharesAre([PARTITIONS]), isFirst ? undefined : theirs)
      await send()
      await until(() => `the rest is read: ${progress()}`, areRead, isFirst ? undefined : theirs)
      expect(values().toSorted()).toEqual(sent.toSorted())
      if (!isFirst) await theirs.stop()
    }
    await ours.close()
  })
}
