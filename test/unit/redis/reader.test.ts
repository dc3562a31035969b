import { describe, expect, it } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { DedicatedOptions } from '../../../src/transports/redis/connection/commands.ts'
import type { Connection } from '../../../src/transports/redis/connection/connection.ts'
import type { RedisContext } from '../../../src/transports/redis/context.ts'
import type { MemberContext } from '../../../src/transports/redis/consume/member-context.ts'
import { LostReplyError } from '../../../src/transports/redis/errors.ts'
import { ReadDemand } from '../../../src/transports/redis/consume/read-demand.ts'
import { Reader } from '../../../src/transports/redis/consume/reader.ts'
import { parseReaderName, readerName } from '../../../src/transports/redis/consume/reader-name.ts'
import type { Source } from '../../../src/transports/redis/consume/source.ts'
import type { PartitionState } from '../../../src/transports/redis/partitions/partition-state.ts'

/** A command of the reader that waits for its reply. */
interface Sent {
  readonly text: string
  readonly answer: (reply: unknown) => void
  readonly fail: (error: Error) => void
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function setUp() {
  const clock = manualClock()
  const sent: Sent[] = []
  let blocked: Sent | undefined
  let down: DedicatedOptions['onDown'] = () => {}
  const state = { closed: false, ended: 0, unblocked: 0, reported: 0, types: Promise.resolve('string') }
  const killing = Promise.withResolvers<unknown>()
  const connection = {
    identity: { id: '7', address: 'here:1' },
    up: true,
    lostReadUntil: -Infinity,
    open: () => Promise.resolve(),
    close: () => void (state.closed = true),
    call(args: readonly string[]) {
      const { promise, resolve, reject } = Promise.withResolvers<unknown>()
      const one: Sent = { text: args.slice(4).join(' '), answer: resolve, fail: reject }
      sent.push(one)
      if (one.text.includes('BLOCK')) blocked = one
      return promise
    },
  } as unknown as Connection
  const context = {
    host: { clock },
    options: { leaseMs: 10_000 },
    lease: { until: clock.monotonic() + 1_000_000, check: () => true },
    reports: { refused() {}, error: () => void state.reported++ },
    commands: {
      connected: true,
      dedicated(_key: string, { onUp, onDown }: DedicatedOptions) {
        down = onDown
        queueMicrotask(() => onUp(connection))
        return connection
      },
      // CLIENT UNBLOCK ends what blocks.
      async call(_key: string, args: readonly string[]) {
        const [command] = args
        if (command === 'TYPE') return state.types
        if (args[1] === 'KILL') return killing.promise
        state.unblocked++
        blocked?.answer(null)
        return 1
      },
    },
  } as unknown as RedisContext
  const reader = new Reader({ context, group: 'g', consumer: 'c', key: 'k', onEnd: () => state.ended++ })

  /** A member that reads these streams, with room for so many entries. */
  function member(topic: string, streams: readonly string[], room: number) {
    const credit = { left: room, share: Infinity, offered: [] as string[] }
    const errors: unknown[] = []
    const repaired: string[] = []
    const member = {
      context,
      owned: true,
      spec: { topic, prefetch: 1_000 },
      entries: { read: () => ({ body: Buffer.alloc(0), headers: {} }) },
      credit: {
        share: credit.share,
        room: () => credit.left,
        offer: (source: Source, { length }: readonly unknown[]) => credit.offered.push(`${source.stream} ${length}`),
        deliver() {},
      },
      reportError: (error: unknown) => errors.push(error),
    } as unknown as MemberContext
    const demand = new ReadDemand(member, () => {})
    for (const stream of streams) {
      const partition = {
        phase: 'held',
        generation: '0:1',
        keys: { topic, partition: 0, stream },
        reads: { add() {}, readEnded() {}, reset() {} },
        repair: () => repaired.push(stream),
      }
      const source = {
        partition,
        stream,
        readable: true,
        isSide: false,
        outstanding: { size: 0 },
        ready: [],
        knownOf: () => undefined,
      }
      demand.partitions.add({ ...partition, sources: [source] } as unknown as PartitionState)
    }
    reader.join(demand)
    return { demand, credit, errors, repaired }
  }
  const entries = (stream: string, count: number): unknown => [
    Buffer.from(stream),
    Array.from({ length: count }, (_, at) => [Buffer.from(`1-${at}`), []]),
  ]
  /** The commands sent since the last look. */
  const next = async (): Promise<Sent[]> => {
    reader.wake()
    await turn()
    return sent.splice(0)
  }
  /** Its connection is lost in the middle of a read, and the server does not know. */
  const lose = async (): Promise<void> => {
    const [read] = await next()
    Object.assign(connection, { up: false, lostReadUntil: clock.monotonic() + 5_000 })
    down('reset')
    read?.fail(new LostReplyError('the connection was reset'))
    await turn()
  }
  return { clock, reader, context, member, next, lose, killed: killing.resolve, entries, state, sent }
}

describe('a reader of several members', () => {
  it('reads for all of them with one command, no more than the one with the least room takes', async () => {
    const { member, next, entries } = setUp()
    const [a, b] = [member('a', ['a0', 'a1'], 20), member('b', ['b0'], 100)]
    const [all] = await next()
    expect(all?.text).toBe('COUNT 10 BLOCK 5000 STREAMS a0 a1 b0 > > >')
    all?.answer([entries('a1', 1), entries('b0', 2)])
    expect((await next()).map(({ text }) => text)).toEqual(['COUNT 10 BLOCK 5000 STREAMS a0 a1 b0 > > >'])
    expect([a.credit.offered, b.credit.offered]).toEqual([['a1 1'], ['b0 2']])
  })

  it('reads separately, and without waiting, what a member can take beyond the others, until nothing is left', async () => {
    const { member, next, entries } = setUp()
    member('a', ['a0'], 1)
    member('b', ['b0'], 100)
    const [first] = await next()
    expect(first?.text).toBe('COUNT 1 BLOCK 5000 STREAMS a0 b0 > >')
    first?.answer([entries('b0', 1)])
    const separately = await next()
    expect(separately.map(({ text }) => text)).toEqual(['COUNT 100 STREAMS b0 >', 'COUNT 1 STREAMS a0 >'])
    separately[0]?.answer([entries('b0', 100)])
    separately[1]?.answer(null)
    const again = await next()
    expect(again.map(({ text }) => text)).toEqual(['COUNT 100 STREAMS b0 >', 'COUNT 1 STREAMS a0 >'])
    again[0]?.answer([entries('b0', 99)])
    again[1]?.answer(null)
    expect((await next()).map(({ text }) => text)).toEqual(['COUNT 1 BLOCK 5000 STREAMS a0 b0 > >'])
  })

  it('does not read for a member without room, and ends a read that waits without it when it has some', async () => {
    const { member, next, reader, state } = setUp()
    const a = member('a', ['a0'], 0)
    member('b', ['b0'], 10)
    expect((await next()).map(({ text }) => text)).toEqual(['COUNT 10 BLOCK 5000 STREAMS b0 >'])
    reader.refresh(a.demand)
    expect([await next(), state.unblocked]).toEqual([[], 0])
  })

  it('is interrupted for a member that has room again', async () => {
    const { member, reader, sent, state } = setUp()
    const a = member('a', ['a0'], 0)
    member('b', ['b0'], 10)
    await turn()
    expect(sent.at(-1)?.text).toBe('COUNT 10 BLOCK 5000 STREAMS b0 >')
    a.credit.left = 5
    reader.refresh(a.demand)
    await turn()
    await turn()
    expect([state.unblocked, sent.at(-1)?.text]).toEqual([1, 'COUNT 5 BLOCK 5000 STREAMS a0 b0 > >'])
  })

  it.each([
    ['NOGROUP no such key', ['b0'], 0],
    ['WRONGTYPE of a key', [], 1],
  ])('finds whose stream is in trouble (%s), and reads for the others meanwhile', async (text, repaired, errors) => {
    const { clock, member, next, entries } = setUp()
    const [a, b] = [member('a', ['a0'], 10), member('b', ['b0'], 10)]
    const [all] = await next()
    all?.fail(new Error(text))
    const [ofA, ofB] = await next()
    expect([ofA?.text, ofB?.text]).toEqual(['COUNT 10 STREAMS a0 >', 'COUNT 10 STREAMS b0 >'])
    ofA?.answer([entries('a0', 1)])
    ofB?.fail(new Error(text))
    const [rest] = await next()
    expect([rest?.text, a.credit.offered]).toEqual(['COUNT 10 BLOCK 5000 STREAMS a0 >', ['a0 1']])
    expect([b.repaired, b.errors.length, a.repaired, a.errors]).toEqual([repaired, errors, [], []])
    await clock.advance(200)
    const [retried, others] = await next()
    expect([retried?.text, others?.text]).toEqual(['COUNT 10 STREAMS b0 >', 'COUNT 10 STREAMS a0 >'])
  })

  it('does not read in a loop when reads for several members fail, and those for each of them do not', async () => {
    const { clock, member, next, state } = setUp()
    member('a', ['a0'], 10)
    member('b', ['b0'], 10)
    const [all] = await next()
    all?.fail(new Error('ERR too many streams'))
    /** Each is read separately, and then both together, which fails. */
    const failAgain = async (): Promise<void> => {
      for (let round = 0; round < 4; round++)
        for (const { text, answer, fail } of await next()) {
          if (text.includes('a0 b0')) {
            fail(new Error('ERR too many streams'))
            return
          }
          answer(null)
        }
      expect.unreachable('both are read together again')
    }
    await failAgain()
    for (const pauseMs of [200, 400, 800]) {
      await clock.advance(pauseMs - 1)
      expect(await next()).toEqual([])
      await clock.advance(1)
      await failAgain()
    }
    expect(state.reported).toBe(1)
  })

  it('reads for the others while it asks why a read of one fails', async () => {
    const { member, next, state } = setUp()
    state.types = new Promise(() => {})
    member('a', ['a0'], 10)
    member('b', ['b0'], 10)
    const [all] = await next()
    all?.fail(new Error('WRONGTYPE of a key'))
    const [ofA, ofB] = await next()
    ofA?.answer(null)
    ofB?.fail(new Error('WRONGTYPE of a key'))
    const [rest] = await next()
    expect(rest?.text).toBe('COUNT 10 BLOCK 5000 STREAMS a0 >')
  })

  describe('whose connection is lost, while its read may go on at the server', () => {
    const hasEnded = async (work: Promise<void>): Promise<boolean> =>
      Promise.race([work.then(() => true), turn().then(() => false)])

    it('has let go of a partition when that read was ended', async () => {
      const { member, lose, reader, killed } = setUp()
      const { demand } = member('a', ['a0'], 10)
      await lose()
      const letGo = [reader.interrupt(demand.partitions), reader.leave(demand)]
      expect(await Promise.all(letGo.map(hasEnded))).toEqual([false, false])
      killed(1)
      await Promise.all(letGo)
    })

    it('or when it has ended by itself', async () => {
      const { clock, member, lose, reader } = setUp()
      const { demand } = member('a', ['a0'], 10)
      await lose()
      const letGo = reader.interrupt(demand.partitions)
      expect(await hasEnded(letGo)).toBe(false)
      await clock.advance(5_000)
      await letGo
    })

    it('is left at once while there is no other connection, because the partition is given up later', async () => {
      const { context, member, lose, reader } = setUp()
      const { demand } = member('a', ['a0'], 10)
      await lose()
      Object.assign(context.commands, { connected: false })
      expect(await hasEnded(reader.leave(demand))).toBe(true)
    })
  })

  it('closes its connection with the last member, and takes no topic twice', async () => {
    const { member, next, reader, state } = setUp()
    const [a, b] = [member('a.*', ['a0'], 10), member('b', ['b0'], 10)]
    expect([reader.isFreeFor('a.b'), reader.isFreeFor('c')]).toEqual([false, true])
    await next()
    await reader.leave(a.demand)
    expect([state.closed, state.ended, reader.isFreeFor('a.b')]).toEqual([false, 0, false])
    reader.abandon(b.demand)
    expect([state.closed, state.ended]).toEqual([true, 1])
  })
})

describe('the name of a reader', () => {
  it.each([
    [{ id: '7', address: '127.0.0.1:1' }, 'a b', '7 127.0.0.1:1 a b'],
    [undefined, 'a', '  a'],
    [{ id: '7', address: '' }, 'a', '  a'],
  ])('of %j and %j is %j', (identity, consumer, name) => {
    expect(readerName(identity, consumer)).toBe(name)
    expect(parseReaderName(name)?.consumer).toBe(consumer)
  })
})
