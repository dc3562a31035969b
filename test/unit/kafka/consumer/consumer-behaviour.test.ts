import { describe, expect, it } from 'vitest'
import type { Consumer } from '../../../../src/kafka/consumer/consumer.ts'
import { BatchBuilder, NO_PRODUCER, stampBatch } from '../../../../src/kafka/records/batch-builder.ts'
import { batchOf } from '../sim/batch.ts'
import { ConsumerSim, numbers, read } from './sim-consumer.ts'

function keyed(keys: readonly string[]): Buffer {
  const builder = new BatchBuilder(Buffer.alloc(10_000))
  for (const [index, key] of keys.entries()) builder.append(key, String(index), 1_000)
  const batch = builder.seal()
  stampBatch(batch, NO_PRODUCER)
  return batch
}

function collect(consumer: Consumer): string[] {
  const values: string[] = []
  void consumer.run({ handler: (record) => void values.push(record.valueText ?? '') })
  return values
}

describe('handlers', () => {
  it('run at once, but for those of one key, which run in order', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 1)
    sim.log('t').append(keyed(['a', 'a', 'b', 'c', 'a', 'b', 'd', 'e']), 0)
    const consumer = sim.consumer()
    const events: string[] = []
    let running = 0
    let most = 0
    const ended = consumer.run({
      concurrency: 4,
      handler: async (record) => {
        most = Math.max(most, ++running)
        events.push(`${record.keyText}${record.valueText} starts`)
        await sim.clock.wait(record.keyText === 'a' ? 100 : 10)
        events.push(`${record.keyText}${record.valueText} ends`)
        running--
      },
    })
    await sim.advance(5_000)
    const ofKey = (key: string) => events.filter((event) => event.startsWith(key))
    expect(ofKey('a')).toEqual(['a0', 'a1', 'a4'].flatMap((name) => [`${name} starts`, `${name} ends`]))
    expect(ofKey('b')).toEqual(['b2', 'b5'].flatMap((name) => [`${name} starts`, `${name} ends`]))
    expect(events.indexOf('b2 ends')).toBeLessThan(events.indexOf('a0 ends'))
    expect(events.length).toBe(16)
    expect(most).toBeLessThanOrEqual(4)
    await sim.run(consumer.close())
    await ended
    expect(sim.committed(0)).toBe(8)
    sim.closeClients()
  })

  it.each(['throws', 'rejects'])('one that %s ends the run, and its record is not committed', async (how) => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 1)
    sim.append('t', 0, numbers(10))
    const consumer = sim.consumer()
    const seen: string[] = []
    const run = consumer.run({
      handler: (record) => {
        seen.push(record.valueText ?? '')
        if (record.valueText !== '5') return
        const error = new Error('no')
        if (how === 'throws') throw error
        return Promise.reject(error)
      },
    })
    await expect(sim.run(run)).rejects.toThrow('no')
    expect(seen).toEqual(numbers(6))
    const before = sim.clock.now()
    await sim.run(consumer.close())
    expect(sim.clock.now() - before).toBeLessThan(1_000)
    expect(sim.committed(0)).toBe(5)
    sim.closeClients()
  })

  it('called again after one has failed begin with its record, and what was finished behind it comes again', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 2)
    sim.log('t', 0).append(keyed(['a', 'b', 'a', 'c']), 0)
    sim.append('t', 1, ['other', 'partition'])
    const consumer = sim.consumer()
    const seen: string[] = []
    let isBroken = true
    const run = () =>
      consumer.run({
        concurrency: 10,
        handler: async (record, { partition }) => {
          seen.push(`${partition}:${record.valueText}`)
          await sim.clock.wait(record.keyText === 'b' ? 200 : 10)
          if (record.keyText === 'b' && isBroken) throw new Error('mine')
        },
      })
    await expect(sim.run(run())).rejects.toThrow('mine')
    expect(seen.toSorted()).toEqual(['0:0', '0:1', '0:2', '0:3', '1:other', '1:partition'])
    isBroken = false
    seen.length = 0
    const again = run()
    await sim.advance(5_000)
    expect(seen).toEqual(['0:1', '0:2', '0:3'])
    await sim.run(consumer.close())
    await again
    expect([sim.committed(0), sim.committed(1)]).toEqual([4, 2])
    sim.closeClients()
  })

  it.each(['key', 'partition', 'none'] as const)('begin with no more records when paused; by %s', async (orderBy) => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 1)
    for (const from of [0, 50]) sim.append('t', 0, numbers(50, from))
    const consumer = sim.consumer({ maxBatchRecords: 30 })
    const place = { topic: 't', partition: 0 }
    const seen: string[] = []
    let pauses = 0
    const run = consumer.run({
      concurrency: 3,
      orderBy,
      handler: async (record) => {
        seen.push(record.valueText ?? '')
        if (record.offset % 20 === 10) {
          consumer.pause([place])
          pauses++
        }
        await sim.clock.wait(10)
      },
    })
    for (const until of [10, 30, 50, 70, 90]) {
      await sim.advance(3_000)
      expect(seen).toEqual(numbers(until + 1))
      await sim.run(consumer.commit())
      expect(sim.committed(0)).toBe(until + 1)
      consumer.resume([place])
    }
    await sim.advance(3_000)
    expect([seen, pauses]).toEqual([numbers(100), 5])
    await sim.run(consumer.close())
    await run
    expect(sim.committed(0)).toBe(100)
    sim.closeClients()
  })

  it.each([
    ['begun by the run', 1, numbers(15, 5), 20],
    ['given back, and reported', 2, [], 5],
  ])('a reset leaves out nothing silently: what a pause took back is %s', async (_, busy, kept, from) => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 2)
    sim.append('t', 0, numbers(20))
    const consumer = sim.consumer()
    const resets: unknown[] = []
    consumer.on('reset', (_, offsets) => void resets.push(offsets))
    const seen: string[] = []
    const run = consumer.run({
      handler: async (record, { partition }) => {
        if (partition === 0) seen.push(record.valueText ?? '')
        if (record.valueText === '4') consumer.pause([{ topic: 't', partition: 0 }])
        await sim.clock.wait(partition === 0 ? 10 : 10_000)
      },
    })
    await sim.advance(2_000)
    sim.append('t', 1, numbers(busy, 100))
    await sim.advance(1_000)
    // Retention passes the rest while the run is busy with another partition: with one record, it has asked for more.
    sim.append('t', 0, numbers(5, 20))
    sim.log('t', 0).deleteBefore(22)
    consumer.resume()
    await sim.advance(60_000)
    expect(resets).toEqual([{ from, to: 22 }])
    expect(seen).toEqual([...numbers(5), ...kept, ...numbers(3, 22)])
    await sim.run(consumer.commit())
    expect(sim.committed(0)).toBe(25)
    await sim.run(consumer.close())
    await run
    sim.closeClients()
  })

  it('begin with nothing that was delivered before a seek', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 1)
    sim.append('t', 0, numbers(50))
    const consumer = sim.consumer()
    const seen: string[] = []
    const run = consumer.run({
      handler: async (record) => {
        seen.push(record.valueText ?? '')
        await sim.clock.wait(10)
        if (record.offset === 5) consumer.seek({ topic: 't', partition: 0, offset: 40 })
      },
    })
    await sim.advance(3_000)
    expect(seen).toEqual([...numbers(6), ...numbers(10, 40)])
    await sim.run(consumer.close())
    await run
    expect(sim.committed(0)).toBe(50)
    sim.closeClients()
  })

  it('may return what is no promise', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 1)
    sim.append('t', 0, numbers(3))
    const consumer = sim.consumer()
    const run = consumer.run({ handler: () => JSON.parse('{"then":1}') as never })
    await sim.advance(3_000)
    await sim.run(consumer.close())
    await run
    expect(sim.committed(0)).toBe(3)
    sim.closeClients()
  })

  it('that call close are waited for', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 1)
    sim.append('t', 0, numbers(10))
    const consumer = sim.consumer()
    const run = consumer.run({
      handler: async (record) => {
        if (record.valueText === '3') void consumer.close()
        await sim.clock.wait(100)
      },
    })
    await sim.run(run)
    await sim.run(consumer.close())
    expect(sim.committed(0)).toBe(4)
    sim.closeClients()
  })
})

describe('a partition that is taken away', () => {
  /** Two members share two partitions of these keys; the first reads alone before. What their handlers have begun, and when. */
  async function handOver(keys: readonly string[], orderBy: 'key' | 'partition', handlerMs: (key: string) => number) {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 2)
    for (const partition of [0, 1]) sim.log('t', partition).append(keyed(keys), 0)
    const begun: { readonly member: number; readonly id: string; readonly at: number }[] = []
    const consumers = [0, 1].map(() => sim.consumer())
    const run = async (member: number): Promise<void> =>
      consumers[member]?.run({
        concurrency: 10,
        orderBy,
        handler: async (record, { partition }) => {
          begun.push({ member, id: `${partition}:${record.valueText}`, at: sim.clock.now() })
          await sim.clock.wait(handlerMs(record.keyText ?? ''))
        },
      })
    let revokedAt = 0
    consumers[0]?.on('revoking', () => void (revokedAt ||= sim.clock.now()))
    const runs = [run(0)]
    await sim.advance(1_000)
    runs.push(run(1))
    await sim.advance(60_000)
    const first = begun.find(({ member }) => member === 1)
    const moved = begun.filter(({ member, id }) => member === 0 && id[0] === first?.id[0])
    await sim.run(Promise.all(consumers.map((each) => each.close())))
    await Promise.all(runs)
    const committed = [sim.committed(0), sim.committed(1)]
    sim.closeClients()
    expect(begun.length).toBe(2 * keys.length)
    expect(new Set(begun.map(({ id }) => id)).size).toBe(2 * keys.length)
    expect(committed).toEqual([keys.length, keys.length])
    return {
      takesMs: (first?.at ?? Infinity) - revokedAt,
      lateIds: moved.filter(({ at }) => at > revokedAt).map(({ id }) => id.slice(2)),
    }
  }

  it('waits for the handlers that run, and begins no more of its records', async () => {
    const { takesMs, lateIds } = await handOver(numbers(20), 'partition', () => 2_000)
    expect(lateIds).toEqual([])
    // And the other learns of it with its next heartbeat.
    expect(takesMs).toBeLessThan(2_000 + 3_500)
  })

  it('finishes records before others that were begun, so that the next member repeats none', async () => {
    // The second record of `slow` waits while those behind it are handled; the third is behind all of them.
    const { takesMs, lateIds } = await handOver(['slow', 'slow', 'b', 'c', 'slow'], 'key', (key) =>
      key === 'slow' ? 5_000 : 100,
    )
    expect(lateIds).toEqual(['1'])
    expect(takesMs).toBeLessThan(10_000)
  })

  it('waits for what runs and for listeners, but not for longer than revokeTimeoutMs', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 2)
    for (const partition of [0, 1]) sim.append('t', partition, numbers(3))
    const first = sim.consumer({ revokeTimeoutMs: 10_000 })
    const events: string[] = []
    first.on('revoking', async (partitions, { deadlineMs }) => {
      events.push(`revoking ${partitions.length} within ${deadlineMs}`)
      await sim.clock.wait(2_000)
      events.push('listener done')
    })
    const batches = [await sim.run(first.next()), await sim.run(first.next())].map(({ value }) => value)
    const second = sim.consumer()
    const others = collect(second)
    await sim.advance(9_000)
    expect(events).toEqual(['revoking 1 within 10000', 'listener done'])
    expect(second.assignment).toEqual([])
    await sim.advance(15_000)
    expect(second.assignment.length).toBe(1)
    expect(others).toEqual(numbers(3))
    expect(batches.filter((batch) => batch?.isLost === true).length).toBe(1)
    for (const batch of batches) batch?.done()
    await sim.run(Promise.all([first.close(), second.close()]))
    expect([sim.committed(0), sim.committed(1)]).toEqual([3, 3])
    sim.closeClients()
  })
})

describe('C23: a static member', () => {
  it('comes back without a rebalance', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 4)
    const options = (instanceId: string) => ({ instanceId })
    const [first, second] = [sim.consumer(options('a')), sim.consumer(options('b'))]
    collect(first)
    collect(second)
    await sim.advance(30_000)
    const before = first.assignment
    const { rebalances } = sim.groups.classic('g')
    await sim.run(first.close())
    await sim.advance(10_000)
    const again = sim.consumer(options('a'))
    collect(again)
    await sim.advance(10_000)
    expect(again.assignment).toEqual(before)
    expect(sim.groups.classic('g').rebalances).toBe(rebalances)
    await sim.run(Promise.all([again.close(), second.close()]))
    sim.closeClients()
  })

  it('of two with the same id the earlier ends, named, and does not come back', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 4)
    const [first, second] = [sim.consumer({ instanceId: 'a' }), sim.consumer({ instanceId: 'a' })]
    const ended = expect(first.next()).rejects.toMatchObject({ code: 'FENCED_INSTANCE_ID' })
    await sim.advance(5_000)
    collect(second)
    await sim.advance(10_000)
    await ended
    expect([first.assignment.length, second.assignment.length]).toEqual([0, 4])
    const since = sim.count('JoinGroup')
    await sim.advance(60_000)
    expect(sim.count('JoinGroup')).toBe(since)
    await sim.run(Promise.all([first.close(), second.close()]))
    sim.closeClients()
  })
})

describe('groups', () => {
  it('a cluster without KIP-848 gets a classic member', async () => {
    const sim = new ConsumerSim({ brokers: 1, maxVersions: { ConsumerGroupHeartbeat: -1 } })
    sim.createTopic('t', 1)
    sim.append('t', 0, numbers(3))
    const consumer = sim.consumer({ protocol: 'consumer' })
    expect(await sim.run(read(consumer, 3))).toEqual(['0:0', '0:1', '0:2'])
    await sim.run(consumer.close())
    expect(sim.committed(0)).toBe(3)
    sim.closeClients()
  })

  it.each(['range', 'roundrobin', 'sticky'] as const)('members with the eager assignor %s share', async (assignor) => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 4)
    const consumers = [1, 2].map(() => sim.consumer({ assignors: [assignor] }))
    const seen = consumers.map((consumer) => collect(consumer))
    for (let round = 0; round < 20; round++) {
      for (const partition of [0, 1, 2, 3]) sim.append('t', partition, [`${partition}-${round}`])
      await sim.advance(1_000)
    }
    expect(consumers.map(({ assignment }) => assignment.length)).toEqual([2, 2])
    await sim.run(Promise.all(consumers.map((each) => each.close())))
    expect(seen.flat().length).toBe(80)
    expect(new Set(seen.flat()).size).toBe(80)
    sim.closeClients()
  })

  it('that may not be used are an error, again and again', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 1)
    sim.script.on('JoinGroup', 1, { do: 'error', code: 30 }, { times: 100 })
    const consumer = sim.consumer()
    for (const _ of [1, 2]) {
      await expect(sim.run(consumer.next())).rejects.toMatchObject({ code: 'GROUP_AUTHORIZATION_FAILED' })
    }
    await sim.run(consumer.close())
    sim.closeClients()
  })

  it('a topic that may not be read is an error, once', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 1)
    sim.append('t', 0, ['a'])
    sim.script.on('Metadata', 1, { do: 'error', code: 29 })
    const consumer = sim.consumer()
    await expect(sim.run(consumer.next())).rejects.toMatchObject({ code: 'TOPIC_AUTHORIZATION_FAILED' })
    sim.script.clear()
    await sim.run(consumer.close())
    sim.closeClients()
  })

  it('read the topics that match, also those that come later', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('orders.a', 1)
    sim.createTopic('other', 1)
    const consumer = sim.consumer({ topics: [/orders\..*/] })
    const values = collect(consumer)
    sim.append('orders.a', 0, ['a'])
    sim.append('other', 0, ['no'])
    await sim.advance(5_000)
    sim.createTopic('orders.b', 1)
    sim.append('orders.b', 0, ['b'])
    await sim.advance(400_000)
    expect(values).toEqual(['a', 'b'])
    await sim.run(consumer.close())
    sim.closeClients()
  })
})

describe('records', () => {
  it('a damaged batch is an error, once; other partitions go on, and a seek passes it', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 2)
    const damaged = batchOf(numbers(3))
    damaged.writeUInt8(0xff, damaged.length - 2)
    sim.log('t', 0).append(damaged, 0)
    sim.append('t', 0, ['behind'])
    sim.append('t', 1, ['fine'])
    const consumer = sim.consumer({ maxBatchRecords: 1 })
    const seen: string[] = []
    const errors: string[] = []
    for (let call = 0; call < 2; call++) {
      try {
        seen.push(...(await sim.run(read(consumer, 1))))
      } catch (error) {
        errors.push((error as { code: string }).code)
      }
    }
    expect([seen, errors]).toEqual([['1:fine'], ['CORRUPT_BATCH']])
    consumer.seek({ topic: 't', partition: 0, offset: 3 })
    consumer.resume()
    expect(await sim.run(read(consumer, 1))).toEqual(['0:behind'])
    await sim.run(consumer.close())
    sim.closeClients()
  })

  it('a broker that can not be asked any more is an error of its own partitions; those of others go on', async () => {
    const sim = new ConsumerSim({ brokers: 3 })
    sim.createTopic('t', 3)
    for (const partition of [0, 1, 2]) sim.moveLeader('t', partition, partition + 1)
    const consumer = sim.consumer()
    const values: string[] = []
    const errors: string[] = []
    const reading = (async () => {
      for (;;) {
        try {
          const { value: batch, done } = await consumer.next()
          if (done === true) return
          for (const record of batch) values.push(`${batch.partition}:${record.valueText}`)
          batch.done()
        } catch (error) {
          errors.push((error as { code: string }).code)
        }
      }
    })()
    await sim.advance(3_000)
    // Its connection ends, and the next one is refused for good.
    sim.script.on('ApiVersions', 1, { do: 'error', code: 58 }, { broker: 2 })
    sim.script.on('Fetch', 1, { do: 'close' }, { broker: 2 })
    await sim.advance(5_000)
    expect(errors).toEqual(['SASL_AUTHENTICATION_FAILED'])
    for (const partition of [0, 1, 2]) sim.append('t', partition, ['a'])
    await sim.advance(10_000)
    expect(values.toSorted()).toEqual(['0:a', '2:a'])
    consumer.resume()
    await sim.advance(10_000)
    expect(values.toSorted()).toEqual(['0:a', '1:a', '2:a'])
    await sim.run(consumer.close())
    await reading
    sim.closeClients()
  })

  it.each([
    ['ListOffsets', 29],
    ['OffsetFetch', 30],
  ] as const)('are read after a resume, though %s was refused', async (api, code) => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 1)
    sim.append('t', 0, numbers(3))
    sim.script.on(api, 1, { do: 'error', code })
    const consumer = sim.consumer()
    await expect(sim.run(consumer.next())).rejects.toThrow('AUTHORIZATION')
    consumer.resume()
    expect(await sim.run(read(consumer, 3), 60_000)).toEqual(['0:0', '0:1', '0:2'])
    await sim.run(consumer.close())
    sim.closeClients()
  })

  it('of open and of aborted transactions are not seen by a reader of committed ones', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 1)
    const log = sim.log('t')
    const stamp = (producerId: bigint) => ({ producerId, producerEpoch: 0, baseSequence: 0, isTransactional: true })
    log.append(batchOf(['aborted'], stamp(1n)), 0)
    log.appendMarker(1n, 0, false, 0, 0)
    log.append(batchOf(['committed'], stamp(1n)), 0)
    log.appendMarker(1n, 0, true, 0, 0)
    log.append(batchOf(['open'], stamp(2n)), 0)
    const consumer = sim.consumer()
    const values = collect(consumer)
    const other = sim.consumer({ group: 'other', isolation: 'read_uncommitted' })
    const all = collect(other)
    await sim.advance(5_000)
    expect(values).toEqual(['committed'])
    expect(all).toEqual(['aborted', 'committed', 'open'])
    log.appendMarker(2n, 0, false, 0, 0)
    sim.appended()
    await sim.advance(5_000)
    await sim.run(Promise.all([consumer.close(), other.close()]))
    // Markers and what was aborted are passed by commits too.
    expect(sim.committed(0)).toBe(6)
    sim.closeClients()
  })

  it('C16: what waits for a slow reader is bounded, and every partition has its turn', async () => {
    const sim = new ConsumerSim({ brokers: 3 })
    sim.createTopic('t', 30)
    const maxBufferedBytes = 2_000_000
    for (let partition = 0; partition < 30; partition++) {
      for (let batch = 0; batch < 30; batch++) sim.append('t', partition, ['x'.repeat(10_000)])
    }
    const consumer = sim.consumer({ group: undefined as never, maxBufferedBytes, maxBytes: 1_000_000 })
    const counts = new Map<number, number>()
    let most = 0
    for (let call = 0; call < 300; call++) {
      const { value } = await sim.run(consumer.next())
      counts.set(value?.partition ?? -1, (counts.get(value?.partition ?? -1) ?? 0) + 1)
      value?.done()
      await sim.advance(20)
      most = Math.max(most, consumer.bufferedBytes)
    }
    expect(counts.size).toBe(30)
    expect(Math.max(...counts.values()) - Math.min(...counts.values())).toBeLessThan(15)
    expect(most).toBeLessThan(1.5 * maxBufferedBytes)
    await sim.run(consumer.close())
    expect(consumer.bufferedBytes).toBe(0)
    sim.closeClients()
  })
})

describe('options', () => {
  it.each([
    [{ topics: [] }],
    [{ group: '' }],
    [{ heartbeatIntervalMs: 20_000 }],
    [{ revokeTimeoutMs: 55_000, rebalanceTimeoutMs: 60_000 }],
  ])('that contradict each other are refused: %o', (options) => {
    expect(() => new ConsumerSim().consumer(options)).toThrow(expect.objectContaining({ code: 'INVALID_OPTIONS' }))
  })

  it('of calls may be any objects with a topic and a partition, in anything that can be iterated', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 1)
    sim.append('t', 0, numbers(30))
    const consumer = sim.consumer({ maxBatchRecords: 1 })
    function* once() {
      yield { topic: 't', partition: 0 }
    }
    const seen: string[] = []
    const run = consumer.run({
      handler: async (record, context) => {
        seen.push(record.valueText ?? '')
        if (record.offset === 4) consumer.pause([context])
        if (record.offset === 9) consumer.pause(consumer.positions)
        if (record.offset === 14) consumer.pause(once())
        if (record.offset === 19) consumer.seek({ ...(consumer.positions[0] ?? context), offset: 25 })
        await sim.clock.wait(10)
      },
    })
    for (const until of [5, 10, 15]) {
      await sim.advance(3_000)
      expect(seen).toEqual(numbers(until))
      consumer.resume(once())
    }
    await sim.advance(3_000)
    expect(seen).toEqual([...numbers(20), ...numbers(5, 25)])
    await sim.run(consumer.close())
    await run
    sim.closeClients()
  })

  it('of calls are checked: names, kinds and ranges', async () => {
    const consumer = new ConsumerSim().consumer()
    const place = { topic: 't', partition: 0 }
    const wrong: [() => unknown, string][] = [
      [() => consumer.seek({ ...place, offset: '3' as never }), 'offset is "3"'],
      [() => consumer.seek({ ...place, offset: -2 }), 'offset is -2'],
      [() => consumer.seek(place as never), 'offset is undefined: give a whole number of 0 or more'],
      [() => consumer.pause([{ topic: 't', partitions: [0] } as never]), 'write { topic, partition } for each'],
      [() => consumer.resume(place as never), 'give an array of { topic, partition }'],
      [() => consumer.pause(null as never), 'are null'],
      [
        () => consumer.on('rebalance' as 'lost', () => {}),
        "give 'assigned', 'revoking', 'lost', 'truncated', 'reset' or 'passed'",
      ],
      [() => consumer.on('lost', undefined as never), 'listener is undefined: give a function'],
    ]
    for (const [call, text] of wrong) expect(call, text).toThrow(text)
    const commit = consumer.commit.bind(consumer) as (...given: readonly unknown[]) => Promise<void>
    await expect(commit([place])).rejects.toThrow('commit() commits what is finished')
    await consumer.close()
  })
})
