import { describe, expect, it } from 'vitest'
import { manualClock, seededRandom } from 'busbar/testing'
import { FormerRequests } from '../../../src/transports/nats/jetstream/shared/former-requests.ts'
import { Incoming } from '../../../src/transports/nats/connection/incoming.ts'
import { PullStatus } from '../../../src/transports/nats/jetstream/consume/pull-status.ts'
import type { StatusHost, StatusTarget } from '../../../src/transports/nats/jetstream/consume/pull-status.ts'
import type { Session } from '../../../src/transports/nats/connection/session.ts'
import { damaged } from '../random-message.ts'

/** Reads a status; returns whether the request has ended, and what was done about it. */
function read(block: string | Buffer): { ended: boolean; done: string[] } {
  const done: string[] = []
  const note =
    (name: string) =>
    (...values: unknown[]): void => {
      done.push([name, ...values.filter((value) => typeof value !== 'object')].join(' '))
    }
  const pulls = Object.fromEntries(['ended', 'tooLarge', 'refused', 'reset'].map((name) => [name, note(name)]))
  const consumer = { name: 'c', pulls: { ...pulls, heard: () => undefined } } as unknown as StatusTarget
  const session = { error: note('error'), warning: note('warning') }
  const host = { session, consumerMissing: note('missing'), wake: () => undefined } as unknown as StatusHost
  const incoming = new Incoming()
  incoming.bytes = Buffer.from(block)
  incoming.bodyAt = incoming.bytes.length
  incoming.end = incoming.bytes.length
  return { ended: new PullStatus(host, consumer).read(incoming), done }
}

describe('the answer to a request', () => {
  it.each([
    ['100 Idle Heartbeat', false, []],
    ['404 No Messages', true, ['ended NaN']],
    ['408 Request Timeout\r\nNats-Pending-Messages: 3\r\nNats-Pending-Bytes: 0', true, ['ended 3']],
    ['409 Batch Completed\r\nNats-Pending-Messages: 1', true, ['ended 1']],
    ['409 Message Size Exceeds MaxBytes\r\nNats-Pending-Messages: 2', true, ['tooLarge', 'ended 2']],
    ['409 Consumer Deleted', true, ['reset', 'missing']],
    ['409 Leadership Change', true, ['reset']],
    ['409 Server Shutdown', true, ['reset']],
    ['409 Exceeded MaxWaiting', true, ['refused', 'warning nats-pull-refused consumer "c": Exceeded MaxWaiting']],
    ['503', true, ['reset', 'missing']],
    ['500 Broken', true, ['refused', 'error asking consumer "c" for messages']],
  ])('%j', (status, ended, done) => {
    expect(read(`NATS/1.0 ${status}\r\n\r\n`)).toEqual({ ended, done })
  })

  it('is no status when it is a message', () => {
    expect(read('NATS/1.0\r\na: 1\r\n\r\n')).toEqual({ ended: false, done: [] })
    expect(read('')).toEqual({ ended: false, done: [] })
  })

  it('may be anything', () => {
    const random = seededRandom('statuses')
    const status = Buffer.from('NATS/1.0 409 Message Size Exceeds MaxBytes\r\nNats-Pending-Messages: 2\r\n\r\n')
    for (let round = 0; round < 2_000; round++) expect(read(damaged(random, status)).ended).toBeTypeOf('boolean')
  })
})

it('former requests are listened to until they have ended', async () => {
  const clock = manualClock()
  const open = new Set<string>()
  const session = {
    host: { clock },
    connection: { isClosed: () => false },
    subscribe(inbox: string) {
      open.add(inbox)
      return { unsubscribe: () => open.delete(inbox) }
    },
  } as unknown as Session
  const former = new FormerRequests(
    session,
    () => undefined,
    () => undefined,
  )
  former.add('a', clock.monotonic() + 100)
  former.add('b', clock.monotonic() + 300)
  former.add('past', clock.monotonic())
  expect([...open]).toEqual([])
  former.listen()
  former.listen()
  expect([...open]).toEqual(['a', 'b'])
  await clock.advance(100)
  former.listen()
  expect([...open]).toEqual(['b'])
  former.silence()
  expect([...open]).toEqual([])
  former.listen()
  expect([...open]).toEqual(['b'])
  former.clear()
  expect([...open]).toEqual([])
  former.listen()
  expect([...open]).toEqual([])
})
