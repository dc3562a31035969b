import { outsideHandlers } from '../../core/causality.ts'
import type { Clock } from '../../core/clock.ts'
import type { EncodedMessage } from '../../core/message.ts'
import { tooLarge } from '../../core/publish/size-limit.ts'
import type {
  RequestOptions,
  RequestReply,
  Responder,
  ResponderSpec,
  TransportResponder,
} from '../../core/transport.ts'
import { PendingRequests } from '../../core/util/pending-requests.ts'
import { RunningRequests } from '../../core/util/running-requests.ts'

/** The responders on a broker, by topic and group. */
export class Responders {
  readonly #topics = new Map<string, Map<string, RunningRequests[]>>()

  /** Returns what removes it. */
  add(responder: RunningRequests): () => void {
    const { topic, group } = responder.spec
    const groups = this.#topics.get(topic) ?? new Map<string, RunningRequests[]>()
    const members = groups.get(group) ?? []
    this.#topics.set(topic, groups.set(group, members))
    members.push(responder)
    return () => {
      const at = members.indexOf(responder)
      if (at < 0) return
      members.splice(at, 1)
      if (members.length === 0) groups.delete(group)
      if (groups.size === 0) this.#topics.delete(topic)
    }
  }

  /** One of each group, in turn. */
  next(topic: string): readonly RunningRequests[] {
    const chosen: RunningRequests[] = []
    for (const members of this.#topics.get(topic)?.values() ?? []) {
      const first = members.shift() as RunningRequests
      members.push(first)
      chosen.push(first)
    }
    return chosen
  }
}

/** Requests and responders of one transport. */
export class MemoryRequestReply implements RequestReply {
  readonly #responders: Responders
  readonly #clock: () => Clock
  readonly #size: { readonly maxMessageBytes: number; readonly system: string }
  readonly #own = new Set<TransportResponder>()
  #pending: PendingRequests | undefined

  /** `clock` throws when the transport is not open. */
  constructor(responders: Responders, clock: () => Clock, maxMessageBytes: number) {
    this.#responders = responders
    this.#clock = clock
    this.#size = { maxMessageBytes, system: 'memory' }
  }

  async request(message: EncodedMessage, options: RequestOptions): Promise<EncodedMessage> {
    const clock = this.#clock()
    const pending = (this.#pending ??= new PendingRequests(clock))
    const error = tooLarge(message, this.#size.maxMessageBytes, this.#size.system)
    if (error !== undefined) throw error
    const send = (id: number): void => {
      const chosen = this.#responders.next(message.topic)
      if (chosen.length === 0) pending.noResponders(id)
      for (const responder of chosen) responder.run(message, (answer) => setImmediate(() => pending.answer(id, answer)))
    }
    // In a later turn, and out of the handler that asks, as with any other broker.
    return pending.start(message.topic, options, (id) => outsideHandlers(() => setImmediate(send, id)))
  }

  async respond(spec: ResponderSpec, responder: Responder): Promise<TransportResponder> {
    const running = new RunningRequests(spec, responder, this.#clock(), this.#size)
    const remove = this.#responders.add(running)
    const opened: TransportResponder = {
      close: ({ deadlineMs = 5_000 } = {}) => {
        remove()
        this.#own.delete(opened)
        return running.close(deadlineMs)
      },
    }
    this.#own.add(opened)
    return opened
  }

  async close(deadlineMs: number): Promise<void> {
    this.#pending?.close()
    await Promise.all([...this.#own].map((responder) => responder.close({ deadlineMs })))
  }
}
