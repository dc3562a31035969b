import { LinkedList } from '../util/linked-list.ts'
import type { LinkedNode } from '../util/linked-list.ts'

/** The place of one publish among those for its topic, from its call until it is sent or given up. */
export class Turn {
  previous: Turn | undefined = undefined
  next: Turn | undefined = undefined
  readonly topic: string
  /** How deep in publish middleware its call was made. `Infinity` when its own middleware no longer holds it up. */
  depth: number
  /** Set when there is something to send. */
  send: (() => void) | undefined
  isOver = false

  constructor(topic: string, depth: number) {
    this.topic = topic
    this.depth = depth
  }
}

class Turns extends LinkedList<Turn> {
  isSending = false
}

/** A call that waits for a schema, a middleware or its turn. `close` ends it. */
export interface OpenCall extends LinkedNode<OpenCall> {
  close(): void
}

/**
 * Keeps the publish calls for a topic in order while asynchronous schemas and publish middleware are at work. Topics don't wait
 * for each other, and nothing is stored while no call waits.
 */
export class PublishSequence {
  readonly #topics = new Map<string, Turns>()
  // Not a Set: its tables keep what was in them until the next full collection, with all messages.
  readonly #open = new LinkedList<OpenCall>()
  readonly #onIdle: () => void

  constructor(onIdle: () => void) {
    this.#onIdle = onIdle
  }

  /** True when no call is open. */
  get isIdle(): boolean {
    return this.#open.size === 0
  }

  enter(call: OpenCall): void {
    this.#open.push(call)
  }

  /** Once for each `enter`. */
  leave(call: OpenCall): void {
    this.#open.remove(call)
    if (this.isIdle) this.#onIdle()
  }

  /** Ends all open calls. */
  close(): void {
    for (const call of this.#open.toArray()) call.close()
  }

  /** True when a call for this topic must wait its turn even if its messages are made. */
  isBusy(topic: string): boolean {
    return this.#topics.size > 0 && this.#topics.has(topic)
  }

  /**
   * A turn behind the others of the topic, but ahead of those that a middleware holds up and that are less deep. A middleware
   * may wait for what it publishes. That is deeper than its own call, and waits for no call that is less deep, so no two
   * middlewares ever wait for each other.
   */
  reserve(topic: string, depth: number): Turn {
    const turn = new Turn(topic, depth)
    let turns = this.#topics.get(topic)
    if (turns === undefined) this.#topics.set(topic, (turns = new Turns()))
    let behind = depth === 0 ? undefined : turns.first
    while (behind !== undefined && behind.depth >= depth) behind = behind.next
    if (behind === undefined) turns.push(turn)
    else turns.insertBefore(turn, behind)
    return turn
  }

  /** Calls `send` when all turns ahead are over, which may be at once; never if this one was given up. */
  ready(turn: Turn, send: () => void): void {
    if (turn.isOver) return
    turn.send = send
    this.#advance(turn.topic)
  }

  giveUp(turn: Turn): void {
    if (turn.isOver) return
    turn.isOver = true
    this.#topics.get(turn.topic)?.remove(turn)
    this.#advance(turn.topic)
  }

  /** Sends from the first turn on, up to one that has nothing to send yet. */
  #advance(topic: string): void {
    const turns = this.#topics.get(topic)
    // A `send` that reserves or ends another turn must not send in the middle of itself; the loop below continues.
    if (turns === undefined || turns.isSending) return
    turns.isSending = true
    for (let turn = turns.first; turn?.send !== undefined; turn = turns.first) {
      turn.isOver = true
      turns.remove(turn)
      turn.send()
    }
    turns.isSending = false
    if (turns.first === undefined) this.#topics.delete(topic)
  }
}
