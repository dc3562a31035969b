import assert from 'node:assert/strict'
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest'
import type { Transport } from 'busbar'
import { seededRandom, tcpProxy } from 'busbar/testing'
import type { TcpProxy } from 'busbar/testing'
import type { Broker } from '../../tools/brokers/index.ts'
import { recordFault, toRow } from './fault-report.ts'
import { Flow, pause, PREFETCH } from './flow.ts'
import type { FlowOptions } from './flow.ts'

/** What the suite has to know of a broker. */
export interface FaultSubject {
  /** The transport's name in the docs: `redis`. */
  readonly name: string
  /** A broker of the test's own. */
  readonly start: () => Promise<Broker>
  /** A transport to that address, with short leases, so that a test needs not wait long for what a dead member held. */
  readonly create: (at: { readonly host: string; readonly port: number }) => Transport
  /** How long what a new group needs may be lost with the broker's process, as the transport's page says. Default 0. */
  readonly youngMs?: number
  /** The same, but it gives up a silent connection within about 2 s. */
  readonly impatient: (at: { readonly host: string; readonly port: number }) => Transport
}

/** How soon after the broker's return everything must flow again. */
const BACK_WITHIN_MS = 5_000
const CUTS = 10
const RESETS = 3

/**
 * The faults that every broker must bear, under a steady flow of messages, with exact accounting by id: nothing that was
 * confirmed is missing, nothing is handled twice that the fault does not explain, no key is out of order, no socket is left.
 */
export function faultSuite(subject: FaultSubject): void {
  describe(`${subject.name}: faults under load, every message by its id`, () => {
    let broker: Broker
    let proxy: TcpProxy
    let flow: Flow | undefined
    const warnings: string[] = []
    const onWarning = (warning: Error): void => void warnings.push(warning.message)

    beforeAll(async () => {
      process.on('warning', onWarning)
      broker = await subject.start()
      proxy = await tcpProxy({ host: broker.host, port: broker.port })
    })
    afterEach(async () => {
      proxy.resume()
      await flow?.close()
      flow = undefined
      // Node warns of an emitter that gathers listeners.
      assert.deepEqual(warnings.splice(0), [])
    })
    afterAll(async () => {
      process.off('warning', onWarning)
      await proxy.close()
      await broker.stop()
    })

    const viaProxy = (): Transport => subject.create(proxy)
    const direct = (): Transport => subject.create({ host: broker.host, port: broker.port })
    async function start(options: Partial<FlowOptions> = {}): Promise<Flow> {
      flow = new Flow({ members: [viaProxy, viaProxy], publisher: viaProxy, ...options })
      return flow.start()
    }

    async function judge(fault: string, running: Flow, explained: number, backMs?: number): Promise<void> {
      const outcome = await running.end()
      recordFault(subject.name, broker.version, toRow(fault, outcome, explained, backMs))
      assert.ok(outcome.repeated <= explained, `${outcome.repeated} were handled again, ${explained} can be explained`)
      if (explained === 0) assert.deepEqual(running.overlaps, [], 'no key may be worked on twice at the same time')
      if (backMs !== undefined) assert.ok(backMs < BACK_WITHIN_MS, `it took ${backMs} ms to come back`)
    }

    test('the broker is killed (SIGKILL) and started again', { timeout: 60_000 }, async () => {
      const running = await start()
      await pause(subject.youngMs ?? 0)
      await broker.kill()
      await pause(300)
      await broker.restart()
      const backMs = await running.progress(20)
      await judge('broker killed and restarted', running, 2 * PREFETCH, backMs)
    })

    test('the broker is stopped in order and started again', { timeout: 60_000 }, async () => {
      const running = await start()
      await broker.restart()
      const backMs = await running.progress(20)
      await judge('broker restarted', running, 2 * PREFETCH, backMs)
    })

    test('the broker is frozen for 10 s', { timeout: 60_000 }, async () => {
      const running = await start()
      await broker.pause()
      await pause(10_000)
      await broker.resume()
      const backMs = await running.progress(20)
      await judge('broker frozen for 10 s', running, 2 * PREFETCH, backMs)
    })

    test('connections are cut, in the middle of publishes, deliveries and acks', { timeout: 60_000 }, async () => {
      const running = await start()
      const random = seededRandom('cuts')
      for (let time = 0; time < CUTS; time++) {
        await running.progress(5)
        // The instant is the fault.
        await pause(random.integer(0, 10))
        if (time % 2 === 0) proxy.cut()
        else proxy.reset()
      }
      const backMs = await running.progress(20)
      await judge(`connections cut ${CUTS} times`, running, CUTS * 2 * PREFETCH, backMs)
    })

    test('half-open: a socket that looks alive and never answers is given up', { timeout: 60_000 }, async () => {
      const impatient = (): Transport => subject.impatient(proxy)
      const running = await start({ members: [impatient, impatient], publisher: impatient })
      proxy.halfOpen()
      await running.progress(50)
      proxy.resume()
      await judge('half-open sockets', running, 2 * PREFETCH)
    })

    test(
      'resets that the broker does not notice: it keeps sending into the old connections',
      { timeout: 120_000 },
      async () => {
        const impatient = (): Transport => subject.impatient(proxy)
        // Slow enough that messages keep coming while the old connections still take them.
        const running = await start({ members: [impatient, impatient], publisher: direct, workMs: 5 })
        for (let time = 1; time <= RESETS; time++) {
          for (const link of proxy.links) link.halfOpen('target')
          await running.everyKey(20, 30_000, `after reset ${time}`)
        }
        // Closes what the broker still holds open.
        proxy.resume()
        await judge(`connections reset ${RESETS} times on one side`, running, RESETS * 2 * PREFETCH)
      },
    )

    test('a blackhole: what is sent is silently lost', { timeout: 60_000 }, async () => {
      const impatient = (): Transport => subject.impatient(proxy)
      const running = await start({ members: [impatient, impatient], publisher: impatient })
      proxy.blackhole()
      await pause(3_000)
      proxy.resume()
      const backMs = await running.progress(20)
      await judge('network gone for 3 s', running, 2 * PREFETCH, backMs)
    })

    test('a slow, uneven link', { timeout: 60_000 }, async () => {
      const running = await start()
      proxy.slow({ delayMs: 15, jitterMs: 25 })
      await running.progress(100)
      proxy.resume()
      await judge('slow, uneven link', running, 0)
    })

    test('members join and leave: each message once, no key out of order', { timeout: 60_000 }, async () => {
      const running = await start({ members: [direct, direct], publisher: direct, workMs: 2 })
      for (let round = 0; round < 4; round++) {
        await running.join(direct)
        await running.progress(80)
        await running.consumers.shift()?.close()
        await running.progress(80)
      }
      await judge('members join and leave', running, 0)
    })
  })
}
