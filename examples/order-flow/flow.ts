import type { Bus } from 'busbar'
import { openAudit } from './audit.ts'
import type { Accounts } from './audit.ts'
import { findDeadLetters, redrive } from './dead-letters.ts'
import { feed } from './feed.ts'
import { plural } from './format.ts'
import type { KillPlan } from './kill-plan.ts'
import { readOrders } from './order-file.ts'
import { services } from './services/index.ts'
import type { View } from './view.ts'
import { createWatch } from './watch.ts'
import type { Standing } from './watch.ts'
import type { Workers } from './workers.ts'

/** The consumer with the bug. Its dead letters are sent back after the fix. */
const BUGGY = 'shipping'

export interface FlowOptions {
  /** A started bus without consumers, to publish and to manage dead letters. */
  readonly bus: Bus
  readonly workers: Workers
  /** Maximum time that the messages of a killed worker stay with it. */
  readonly leaseMs: number
  readonly view: View
  readonly stateDir: string
  readonly run: string
  readonly input: string
  /** Number of orders in the input, up to its limit. */
  readonly total: number
  readonly kill: Pick<KillPlan, 'service' | 'at'> | undefined
  readonly signal: AbortSignal
}

export interface FlowResult extends Accounts {
  readonly placed: number
  readonly redriven: number
  readonly killed: number
  readonly elapsedMs: number
}

/** Runs all orders through the services, kills and fixes services as planned, and accounts for every order at the end. */
export async function runFlow(options: FlowOptions): Promise<FlowResult> {
  const { bus, workers, leaseMs, view, stateDir, run, input, total, kill, signal } = options
  view.note(`starting ${workers.description} ...`)
  await Promise.all(services.map((service) => workers.start(service.name, { fixed: false })))
  const audit = openAudit(stateDir)
  const placed = new Set<string>()
  const startedAt = performance.now()
  const watch = createWatch({ bus, audit, workers, view, run, total, placed, startedAt, signal })
  const isOver = ({ ended, notified, dead }: Standing): boolean => ended + dead === total && notified === ended
  let killed = 0

  async function publishAll(): Promise<void> {
    await feed(bus, readOrders(input, total), {
      run,
      // Too few orders to spare one: cut no message in half.
      poison: total < 10 ? 0 : Math.ceil(total / 2),
      onPlaced: (ids) => ids.forEach((id) => placed.add(id)),
    })
  }

  async function killOne(service: string): Promise<void> {
    const pid = await workers.kill(service)
    killed++
    const seconds = Math.ceil(leaseMs / 1_000)
    const wait = seconds === 0 ? '' : `; what it held comes back when its lease ends, in up to ${seconds} s`
    view.note(`killed the ${service} worker with SIGKILL (process ${pid})${wait}`)
    await workers.start(service, { fixed: false })
    view.note(`started another ${service} worker`)
  }

  async function handleAll(): Promise<void> {
    if (kill !== undefined) await watch(({ ended }) => ended >= kill.at * total)
    const [isDone] = await Promise.all([watch(isOver), kill === undefined ? undefined : killOne(kill.service)])
    if (!isDone) view.note('nothing has moved for a minute')
  }

  async function repair(): Promise<number> {
    const letters = (await findDeadLetters(bus, run)).filter((found) => found.group === BUGGY)
    const first = letters[0]
    if (first === undefined) return 0
    view.note(
      `${plural(letters.length, 'dead letter')} of ${BUGGY}, by ${first.letter.errorName}: ${first.letter.errorMessage}`,
    )
    await workers.stop(BUGGY)
    await workers.start(BUGGY, { fixed: true })
    const redriven = await redrive(bus, run, letters)
    view.note(`deployed a fixed ${BUGGY} and sent ${plural(redriven, 'dead letter')} back to it`)
    await watch(isOver)
    return redriven
  }

  async function all(): Promise<number> {
    await Promise.all([publishAll(), handleAll()])
    return repair()
  }

  const redriven = await Promise.race([all(), workers.failed])
  const elapsedMs = Math.round(performance.now() - startedAt)
  const dead = new Set((await findDeadLetters(bus, run)).map((found) => found.orderId))
  return { placed: placed.size, ...audit.close(placed, dead), redriven, killed, elapsedMs }
}
