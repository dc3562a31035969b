import type { Bus } from 'busbar'

/** What the members of a group notice when one of them comes or goes, while messages of many keys arrive. */
export interface HandOver {
  /** Until the new member is ready, in ms. */
  readonly joinMs: number
  /** From the same moment until the new member handles its first message; undefined: none in time. */
  readonly firstMs: number | undefined
  /** The longest time from publish to handler while the member joined. */
  readonly joinWaitMs: number
  /** Until a member that had work is closed. */
  readonly leaveMs: number
  /** The longest time from publish to handler while it left. */
  readonly leaveWaitMs: number
}

/** A member of all groups, and how often its handlers have been called. */
export interface Member {
  readonly bus: Bus
  readonly handled: () => number
}

/** Between two messages. */
const EVERY_MS = 2
/** Enough that every partition gets some in each moment. */
const KEYS = 1_000
const FIRST_LIMIT_MS = 20_000
/** What a join or a leave sets in motion is over by then. */
const CALM_MS = 5_000

/** Sends messages and keeps the longest time that one of them took to a handler. */
export class Trickle {
  readonly #bus: Bus
  readonly #topic: string
  readonly #waiting = new Map<number, number>()
  #longestMs = 0
  #next = 0
  #timer: NodeJS.Timeout | undefined
  #failed: unknown

  constructor(bus: Bus, topic: string) {
    this.#bus = bus
    this.#topic = topic
  }

  start(): void {
    this.#timer = setInterval(() => this.#send(), EVERY_MS)
  }

  stop(): void {
    clearInterval(this.#timer)
    if (this.#failed !== undefined) throw this.#failed
  }

  /** Called by the handlers. */
  arrived(index: number): void {
    const sentAt = this.#waiting.get(index)
    if (sentAt !== undefined) this.#longestMs = Math.max(this.#longestMs, performance.now() - sentAt)
    this.#waiting.delete(index)
  }

  /** Of what arrived since the last call, and of what still waits. */
  takeLongestMs(): number {
    const now = performance.now()
    const longest = [...this.#waiting.values()].reduce((most, at) => Math.max(most, now - at), this.#longestMs)
    this.#longestMs = 0
    return longest
  }

  #send(): void {
    const index = this.#next++
    this.#waiting.set(index, performance.now())
    this.#bus.publish(this.#topic, { index }, { key: `key-${index % KEYS}` }).catch((error: unknown) => {
      this.#failed = error
    })
  }
}

/** Lets a member join, and then one with work leave. The trickle must have gone through the handlers of one group. */
export async function measureHandOver(
  members: readonly Member[],
  trickle: Trickle,
  open: () => Promise<Member>,
): Promise<HandOver> {
  trickle.start()
  await wait(CALM_MS)
  trickle.takeLongestMs()
  const start = performance.now()
  const added = await open()
  const joinMs = performance.now() - start
  const firstMs = await firstMessage(added, start)
  await wait(CALM_MS)
  const joinWaitMs = trickle.takeLongestMs()
  const leaver = [added, ...members].find((member) => member.handled() > 0)
  if (leaver === undefined) throw new Error('No member has handled a message')
  const end = performance.now()
  await leaver.bus.close()
  const leaveMs = performance.now() - end
  await wait(CALM_MS)
  const leaveWaitMs = trickle.takeLongestMs()
  trickle.stop()
  return { joinMs, firstMs, joinWaitMs, leaveMs, leaveWaitMs }
}

async function firstMessage(member: Member, start: number): Promise<number | undefined> {
  while (member.handled() === 0) {
    if (performance.now() - start > FIRST_LIMIT_MS) return undefined
    await wait(1)
  }
  return performance.now() - start
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}
