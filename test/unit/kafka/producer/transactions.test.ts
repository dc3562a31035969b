import { describe, expect, it } from 'vitest'
import type { KafkaError } from '../../../../src/kafka/errors.ts'
import { Producer } from '../../../../src/kafka/producer/producer.ts'
import { readControlRecord } from '../../../../src/kafka/records/control-record.ts'
import { readRecords } from '../../../../src/kafka/records/read-records.ts'
import type { ApiName } from '../../../../src/kafka/protocol/generated/api-types.ts'
import { seedsOf } from '../schedules.ts'
import type { SimCluster } from '../sim/sim-cluster.ts'
import { nothingLeft, setUp } from './producer-setup.ts'
import type { Parts } from './producer-setup.ts'

const GROUP = { groupId: 'g', generationId: -1, memberId: '' }
const GROUP_AUTHORIZATION_FAILED = 30
const CONCURRENT_TRANSACTIONS = 51
const TRANSACTION_ABORTABLE = 120
const VERSIONS = [1, 2] as const

/** What a `read_committed` consumer sees of a partition. */
async function committed(sim: SimCluster, partition = 0): Promise<string[]> {
  const open = new Map<bigint, string[]>()
  const seen: string[] = []
  for (const batch of sim.log('t', partition).batches) {
    const records = await readRecords(batch)
    const pending = open.get(batch.producerId) ?? []
    if (batch.isControl) {
      const [marker] = records
      if (marker !== undefined && readControlRecord(marker).type === 'commit') seen.push(...pending)
      open.delete(batch.producerId)
    } else open.set(batch.producerId, [...pending, ...records.map(({ valueText }) => valueText ?? '')])
  }
  return seen
}

/** With the transactions of a version: the cluster's feature says which. */
function ofVersion(version: 1 | 2, transactionalId: string | true = true, seed = 1): Parts {
  const features = { 'transaction.version': version }
  const options = { transactionalId, transactionTimeoutMs: 10_000, deliveryTimeoutMs: 20_000, ackTimeoutMs: 1_000 }
  return setUp(options, { sim: { features, seed }, cluster: { requestTimeoutMs: 2_000 }, partitions: 2 })
}

const asked = (sim: SimCluster, api: ApiName) => sim.requests.filter((request) => request.api === api)
const write = ({ producer, sim }: Parts, value: string) =>
  sim.run(producer.transaction(async (tx) => void (await tx.send({ topic: 't', value, partition: 0 }))))
const failureOf = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: KafkaError) => error,
  )

for (const version of VERSIONS) {
  describe(`transactions of version ${version}`, () => {
    it('commit records and offsets together, and abort them together', async () => {
      const parts = ofVersion(version)
      const { sim, producer } = parts
      const value = await sim.run(
        producer.transaction(async (tx) => {
          void tx.send({ topic: 't', value: 'a', partition: 0 })
          await tx.sendMany('t', [{ value: 'b', partition: 1 }])
          tx.offsets(GROUP, [{ topic: 't', partition: 0, offset: 5 }])
          return 7
        }),
      )
      const failing = producer.transaction(async (tx) => {
        await tx.send({ topic: 't', value: 'never', partition: 0 })
        tx.offsets({ groupMetadata: () => GROUP }, [{ topic: 't', partition: 0, offset: 6 }])
        throw new Error('mine')
      })
      await expect(sim.run(failing)).rejects.toThrow('mine')
      await write(parts, 'c')
      await sim.advance(100)
      expect([value, await committed(sim), await committed(sim, 1)]).toEqual([7, ['a', 'c'], ['b']])
      expect(sim.groups.offsets('g').get('t', 0)?.offset).toBe(5)
      const versions = asked(sim, 'Produce').map((request) => request.version)
      expect(versions.every((each) => each >= 12)).toBe(version === 2)
      expect(asked(sim, 'AddPartitionsToTxn').length > 0).toBe(version === 1)
      expect(asked(sim, 'AddOffsetsToTxn').length > 0).toBe(version === 1)
      expect(await nothingLeft(parts)).toEqual([0, 0])
    })

    it('are aborted when a partition was lost while its offset was on the way, though the group knows the member again', async () => {
      const parts = ofVersion(version)
      const { sim, producer } = parts
      let held = true
      const member = { groupMetadata: () => GROUP, holding: () => () => held }
      sim.script.on('TxnOffsetCommit', 1, { do: 'run', run: () => void (held = false) })
      const failure = await failureOf(
        sim.run(
          producer.transaction(async (tx) => {
            await tx.send({ topic: 't', value: 'never', partition: 0 })
            tx.offsets(member, [{ topic: 't', partition: 0, offset: 6 }])
          }),
        ),
      )
      expect(failure).toMatchObject({ code: 'NOT_A_MEMBER' })
      await write(parts, 'a')
      await sim.advance(100)
      expect(await committed(sim)).toEqual(['a'])
      expect(sim.groups.offsets('g').get('t', 0)?.offset).toBeUndefined()
    })

    it('send no request when they are empty, and run in the order of the calls', async () => {
      const parts = ofVersion(version)
      const { sim, producer } = parts
      await write(parts, 'a')
      const before = sim.requests.length
      await sim.run(producer.transaction(() => {}))
      await expect(sim.run(producer.transaction(() => Promise.reject(new Error('mine'))))).rejects.toThrow('mine')
      expect(sim.requests.length).toBe(before)
      const order: string[] = []
      const run = (name: string) =>
        producer.transaction(async (tx) => {
          order.push(`${name} begins`)
          await tx.send({ topic: 't', value: name, partition: 0 })
          order.push(`${name} ends`)
        })
      await sim.run(Promise.all([run('x'), run('y')]))
      expect(order).toEqual(['x begins', 'x ends', 'y begins', 'y ends'])
    })

    it('go on with their numbers when one is aborted before anything of it was sent', async () => {
      const parts = ofVersion(version)
      const { sim, producer } = parts
      await write(parts, 'a')
      const aborted = producer.transaction((tx) => {
        void tx.send({ topic: 't', value: 'never', partition: 0 })
        throw new Error('mine')
      })
      await expect(sim.run(aborted)).rejects.toThrow('mine')
      await write(parts, 'b')
      await sim.advance(100)
      expect(await committed(sim)).toEqual(['a', 'b'])
    })

    it('refuse what comes before, after, or outside of them', async () => {
      const parts = ofVersion(version)
      const { sim, producer } = parts
      const outside = failureOf(producer.send({ topic: 't', value: 'x' }))
      expect(await outside).toMatchObject({ code: 'INVALID_STATE', outcome: 'not-sent' })
      const late = await sim.run(producer.transaction((tx) => ({ send: () => tx.send({ topic: 't', value: 'x' }) })))
      expect(await failureOf(late.send())).toMatchObject({ code: 'INVALID_STATE', outcome: 'not-sent' })
      const plain = new Producer({}, parts.context)
      expect(await failureOf(plain.transaction(() => {}))).toMatchObject({ code: 'INVALID_STATE' })
    })

    it('can only be aborted when one of their records fails, though nobody awaits it', async () => {
      const parts = ofVersion(version)
      const { sim, producer } = parts
      await write(parts, 'a')
      const error = await failureOf(
        sim.run(
          producer.transaction(async (tx) => {
            await tx.send({ topic: 't', value: 'b', partition: 0 })
            sim.script.on('Produce', 1, { do: 'error', code: 87 })
            void tx.send({ topic: 't', value: 'bad', partition: 0 })
          }),
        ),
      )
      expect(error).toMatchObject({ code: 'INVALID_RECORD', action: 'fatal', outcome: 'rejected' })
      await write(parts, 'c')
      await sim.advance(100)
      expect(await committed(sim)).toEqual(['a', 'c'])
    })

    it('fail at once what is sent after a failure', async () => {
      const { sim, producer } = ofVersion(version)
      const seen: (KafkaError | undefined)[] = []
      await failureOf(
        sim.run(
          producer.transaction(async (tx) => {
            seen.push(await failureOf(tx.send({ topic: 't', value: 'x', partition: 9 })))
            seen.push(await failureOf(tx.send({ topic: 't', value: 'y', partition: 0 })))
          }),
        ),
      )
      expect(seen).toMatchObject([{ code: 'INVALID_PARTITION' }, { action: 'fatal', outcome: 'not-sent' }])
    })

    it('end once, however often the answer is lost', async () => {
      const parts = ofVersion(version)
      const { sim } = parts
      sim.script.on('EndTxn', 1, { do: 'closeAfter' }, { times: 2 })
      await write(parts, 'a')
      await write(parts, 'b')
      await sim.advance(100)
      expect(await committed(sim)).toEqual(['a', 'b'])
      expect(sim.log('t').batches.filter(({ isControl }) => isControl)).toHaveLength(2)
    })

    it('say that they may have been committed when that can not be found out', async () => {
      const parts = ofVersion(version)
      const { sim } = parts
      sim.script.on('EndTxn', 1, { do: 'dropAnswer' }, { times: 1_000 })
      expect(await failureOf(write(parts, 'a'))).toMatchObject({ outcome: 'unknown' })
      sim.script.clear()
      await write(parts, 'b')
      await sim.advance(100)
      expect((await committed(sim)).at(-1)).toBe('b')
    })

    it('wait for the one before to be complete, and for their coordinator to be found', async () => {
      const parts = ofVersion(version)
      const { sim } = parts
      sim.script.on('InitProducerId', 1, { do: 'error', code: CONCURRENT_TRANSACTIONS }, { times: 3 })
      await write(parts, 'a')
      sim.kill(sim.coordinators.find('transaction', parts.producer.transactionalId ?? '') ?? 0)
      await write(parts, 'b')
      await sim.advance(100)
      expect(await committed(sim)).toEqual(['a', 'b'])
    })

    it('are fenced by a newer producer with their id, for good', async () => {
      const parts = ofVersion(version, 'shared')
      const { sim, cluster, context } = parts
      await write(parts, 'older')
      const newer = { sim, cluster, context, producer: new Producer({ transactionalId: 'shared' }, context) }
      await write(newer, 'newer')
      for (let attempt = 0; attempt < 3; attempt++) {
        expect(await failureOf(write(parts, 'late'))).toMatchObject({ action: 'fenced' })
      }
      await write(newer, 'newer again')
      await sim.advance(100)
      expect(await committed(sim)).toEqual(['older', 'newer', 'newer again'])
      await sim.run(newer.producer.close())
      expect(await nothingLeft(parts)).toEqual([0, 0])
    })

    it('C24: go on with another id of their own when the coordinator has aborted one', async () => {
      const parts = ofVersion(version)
      const { sim, producer } = parts
      await write(parts, 'a')
      await sim.run(producer.transaction(() => {}))
      const slow = producer.transaction(async (tx) => {
        await tx.send({ topic: 't', value: 'slow', partition: 0 })
        await sim.clock.wait(20_000)
      })
      expect(await failureOf(sim.run(slow))).toMatchObject({ action: 'fenced' })
      await write(parts, 'b')
      await sim.advance(100)
      expect(await committed(sim)).toEqual(['a', 'b'])
    })

    it('name a failure that stays as fatal, though they are aborted', async () => {
      const parts = ofVersion(version)
      const { sim, producer } = parts
      sim.script.on('TxnOffsetCommit', 1, { do: 'error', code: GROUP_AUTHORIZATION_FAILED }, { times: 100 })
      const refused = producer.transaction((tx) => tx.offsets(GROUP, [{ topic: 't', partition: 0, offset: 5 }]))
      expect(await failureOf(sim.run(refused))).toMatchObject({
        code: 'GROUP_AUTHORIZATION_FAILED',
        action: 'fatal',
        outcome: 'rejected',
        missingRight: 'Read on the group',
      })
      await write(parts, 'next')
    })

    it('are not in doubt when only a record was: the commit has not been sent', async () => {
      const parts = ofVersion(version)
      const { sim } = parts
      await write(parts, 'a')
      sim.script.on('Produce', 1, { do: 'dropAnswer' }, { times: 1_000 })
      expect(await failureOf(write(parts, 'b'))).toMatchObject({ action: 'abort', outcome: 'rejected' })
      sim.script.clear()
      await write(parts, 'c')
      await sim.advance(100)
      expect(await committed(sim)).toEqual(['a', 'c'])
    })

    it('are not in doubt when they have not begun', async () => {
      const { sim, producer } = ofVersion(version)
      sim.script.on('InitProducerId', 1, { do: 'dropAnswer' }, { times: 1_000 })
      let hasRun = false
      const never = producer.transaction(() => void (hasRun = true))
      expect(await failureOf(sim.run(never))).toMatchObject({ outcome: 'not-sent' })
      expect(hasRun).toBe(false)
    })

    it('are aborted when the coordinator refuses to commit them', async () => {
      const parts = ofVersion(version)
      const { sim } = parts
      sim.script.on('EndTxn', 1, { do: 'error', code: TRANSACTION_ABORTABLE })
      expect(await failureOf(write(parts, 'a'))).toMatchObject({
        code: 'TRANSACTION_ABORTABLE',
        action: 'abort',
        outcome: 'rejected',
      })
      await sim.advance(100)
      const markers = sim.log('t').batches.filter(({ isControl }) => isControl)
      expect(markers).toHaveLength(1)
      await write(parts, 'b')
      await sim.advance(100)
      expect(await committed(sim)).toEqual(['b'])
    })

    it('fail with offsets of a member that is none any more', async () => {
      const parts = ofVersion(version)
      const { sim, producer } = parts
      const former = { groupId: 'g', generationId: 3, memberId: 'gone' }
      const error = await failureOf(
        sim.run(
          producer.transaction(async (tx) => {
            await tx.send({ topic: 't', value: 'x', partition: 0 })
            tx.offsets(former, [{ topic: 't', partition: 0, offset: 1 }])
          }),
        ),
      )
      expect(error).toMatchObject({ action: 'abort', outcome: 'rejected' })
      await write(parts, 'next')
      await sim.advance(100)
      expect(await committed(sim)).toEqual(['next'])
    })
  })
}

const APIS: readonly ApiName[] = [
  'Produce',
  'EndTxn',
  'AddPartitionsToTxn',
  'AddOffsetsToTxn',
  'TxnOffsetCommit',
  'InitProducerId',
  'FindCoordinator',
]

/** Transactions under random faults; what is wrong with what became visible. */
async function violationsOf(seed: number): Promise<readonly string[]> {
  const parts = ofVersion(seed % 2 === 0 ? 1 : 2, true, seed)
  const { sim, producer } = parts
  const { random } = sim
  const outcomes = new Map<string, 'committed' | 'aborted' | 'unknown'>()
  for (let round = 0; round < 12; round++) {
    for (let fault = random.below(3); fault > 0; fault--) {
      const what = random.pick(['closeAfter', 'close', 'dropAnswer', 'drop'] as const)
      sim.script.on(random.pick(APIS), 1 + random.below(3), { do: what })
    }
    if (random.chance(0.1)) sim.moveLeader('t', random.below(2), 1 + random.below(3))
    if (random.chance(0.1)) void sim.freeze(1 + random.below(3), random.between(100, 5_000))
    if (random.chance(0.05)) sim.transactions.expire(producer.transactionalId ?? '')
    const fails = random.chance(0.2)
    const running = producer.transaction(async (tx) => {
      for (let record = 0; record < 3; record++) {
        const sending = tx.send({ topic: 't', value: `${round}/${record}`, partition: record % 2 })
        if (random.chance(0.5)) await sending
      }
      tx.offsets(GROUP, [{ topic: 't', partition: 0, offset: round + 1 }])
      if (random.chance(0.05)) await sim.clock.wait(15_000)
      if (fails) throw new Error('mine')
    })
    const error = await sim.run(running).then(
      () => undefined,
      (reason: unknown) => reason as Error & Partial<KafkaError>,
    )
    const outcome = error === undefined ? 'committed' : error.outcome === 'unknown' ? 'unknown' : 'aborted'
    outcomes.set(String(round), outcome)
  }
  sim.script.clear()
  await sim.advance(30_000)
  // A request that the coordinator read late may have begun a transaction, and its timeout fences the first one that follows.
  const fenced = await failureOf(write(parts, 'last/0'))
  const last = fenced?.action === 'fenced' ? await failureOf(write(parts, 'last/0')) : fenced
  await sim.advance(1_000)
  const seen = [...(await committed(sim, 0)), ...(await committed(sim, 1))]
  const violations = last === undefined ? [] : [`the last transaction fails: ${last.message}`]
  for (const [round, outcome] of outcomes) {
    const visible = seen.filter((value) => value.startsWith(`${round}/`)).toSorted()
    const isWhole = visible.join() === [0, 1, 2].map((record) => `${round}/${record}`).join()
    const isRight =
      outcome === 'committed' ? isWhole : outcome === 'aborted' ? visible.length === 0 : isWhole || visible.length === 0
    if (!isRight) violations.push(`transaction ${round} is ${outcome}, and visible of it is [${visible.join()}]`)
  }
  const rounds = seen.map((value) => Number.parseInt(value, 10)).filter((round) => !Number.isNaN(round))
  const offset = sim.groups.offsets('g').get('t', 0)?.offset ?? 0
  if (offset !== Math.max(0, ...rounds.map((round) => round + 1))) violations.push(`the offset is ${offset}`)
  const left = await nothingLeft(parts)
  if (left.join() !== '0,0') violations.push(`left: ${left.join()}`)
  return violations.map((violation) => `seed ${seed}: ${violation}`)
}

describe('transactions under random faults', () => {
  it('are visible as a whole or not at all (K9)', { timeout: 7_200_000 }, async () => {
    for (const seed of seedsOf('transactions')) expect(await violationsOf(seed)).toEqual([])
  })
})
