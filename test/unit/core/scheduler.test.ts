import { describe, expect, it } from 'vitest'
import { CodecRegistry } from '../../../src/core/codec.ts'
import { IncomingMessage } from '../../../src/core/consume/incoming-message.ts'
import { Scheduler } from '../../../src/core/consume/scheduler.ts'
import { PendingDelivery } from '../../../src/core/consume/pending-delivery.ts'
import { seededRandom } from 'busbar/testing'
import { delivery } from './stub-transport.ts'

function work(id: string, key?: string): PendingDelivery {
  const of = delivery(id, { key })
  return new PendingDelivery(of, new IncomingMessage(of.message, new CodecRegistry()), 0)
}

describe('lanes', () => {
  it('take and put back several of a key for a batch', () => {
    const scheduler = new Scheduler('key')
    const works = ['a1', 'a2', 'a3', 'a4'].map((id) => work(id, 'a'))
    for (const each of works) scheduler.add(each)
    const [a1, a2, a3, a4] = works as [PendingDelivery, PendingDelivery, PendingDelivery, PendingDelivery]
    expect(scheduler.next()).toBe(a1)
    const lane = a1.queue
    if (lane === undefined) throw new Error('no lane')
    expect([scheduler.following(lane), scheduler.following(lane)]).toEqual([a2, a3])
    scheduler.requeueBehind(lane, [a2, a3])
    expect(scheduler.next()).toBeUndefined()
    expect(lane.waiting).toEqual([a2, a3, a4])
    scheduler.finish(a1)
    expect(scheduler.next()).toBe(a2)
  })

  it('continue with what was put back when nothing holds the key any more', () => {
    const scheduler = new Scheduler('key')
    const works = ['a1', 'a2', 'a3'].map((id) => work(id, 'a'))
    for (const each of works) scheduler.add(each)
    const [a1, a2, a3] = works as [PendingDelivery, PendingDelivery, PendingDelivery]
    const lane = scheduler.next()?.queue
    if (lane === undefined) throw new Error('no lane')
    expect(scheduler.following(lane)).toBe(a2)
    scheduler.finish(a1)
    scheduler.requeueBehind(lane, [a2])
    expect(scheduler.next()).toBe(a2)
    expect(lane.waiting).toEqual([a3])
  })

  it('keep order and lose nothing, whatever happens to their deliveries', () => {
    // A model of one consumer: works come, run, fail inline, are removed, and leave, in a random but repeatable order.
    for (let seed = 1; seed <= 200; seed++) {
      const random = seededRandom(seed)
      const scheduler = new Scheduler('key')
      const running: PendingDelivery[] = []
      const parked: PendingDelivery[] = []
      const queued = new Set<PendingDelivery>()
      const lastDone = new Map<string, number>()
      let made = 0
      let ended = 0
      const key = (of: PendingDelivery): string => of.message.key as string
      for (let step = 0; step < 300; step++) {
        const dice = random.integer(0, 99)
        if (dice < 40) {
          const next = work(String(made++), `k${random.integer(0, 3)}`)
          queued.add(next)
          expect(scheduler.add(next)).toBe(true)
        } else if (dice < 70) {
          const next = scheduler.next()
          if (next === undefined) continue
          queued.delete(next)
          expect([...running, ...parked].some((other) => key(other) === key(next))).toBe(false)
          expect(lastDone.get(key(next)) ?? -1).toBeLessThan(Number(next.message.id))
          next.state = 'running'
          running.push(next)
        } else if (dice < 85) {
          const done = running.splice(random.integer(0, Math.max(0, running.length - 1)), 1)[0]
          if (done === undefined) continue
          lastDone.set(key(done), Number(done.message.id))
          scheduler.finish(done)
          ended++
        } else if (dice < 90) {
          const failed = running.shift()
          if (failed === undefined) continue
          failed.state = 'waitingForRetry'
          parked.push(failed)
        } else if (dice < 95) {
          const due = parked.shift()
          if (due === undefined) continue
          scheduler.requeue(due)
          queued.add(due)
        } else {
          const victim = [...queued][random.integer(0, Math.max(0, queued.size - 1))]
          if (victim === undefined) continue
          queued.delete(victim)
          scheduler.remove(victim)
          ended++
        }
      }
      // Everything still in there must come out.
      for (const due of parked.splice(0)) {
        scheduler.requeue(due)
        queued.add(due)
      }
      while (queued.size > 0 || running.length > 0) {
        for (const done of running.splice(0)) {
          scheduler.finish(done)
          ended++
        }
        for (let next = scheduler.next(); next !== undefined; next = scheduler.next()) {
          queued.delete(next)
          next.state = 'running'
          running.push(next)
        }
        if (running.length === 0) break
      }
      expect({ seed, queued: queued.size, ended }).toEqual({ seed, queued: 0, ended: made })
    }
  })
})
