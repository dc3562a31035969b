import { makeDeadLetter } from '../../../src/core/dead-letters/dead-letter.ts'
import type { EncodedMessage, OutgoingMessage, Position } from '../../../src/core/message.ts'
import type { GroupInfo, PublishOutcome, StoredMessage, TransportAdmin } from '../../../src/core/transport.ts'
import { delivery, StubTransport } from './stub-transport.ts'

interface Slot {
  readonly offset: number
  readonly make: () => EncodedMessage
}

/** A transport with nothing but dead letters, made when they are read; what is redriven is in `sent`. */
export class LetterStore extends StubTransport {
  readonly sent: OutgoingMessage[] = []
  readonly removed: number[] = []
  /** Called before each page is read. */
  onRead: () => void | Promise<void> = () => {}
  onRemove: () => void | Promise<void> = () => {}
  /** Size of the bodies of letters that were added without one. */
  bodyBytes = 2
  #slots: Slot[] = []
  #next = 0

  constructor() {
    super()
    this.answer = async (batch) => {
      this.sent.push(...batch)
      return batch.map((): PublishOutcome => ({ position: undefined }))
    }
  }

  get size(): number {
    return this.#slots.length
  }

  add(make: () => EncodedMessage): void {
    this.#slots.push({ offset: this.#next++, make })
  }

  addLetter(
    id: string,
    change: { readonly key?: string; readonly redrives?: number; readonly body?: Uint8Array } = {},
  ): void {
    const { key, redrives = 0, body } = change
    this.add(() => letter(id, { key, redrives, body: body ?? Buffer.alloc(this.bodyBytes) }))
  }

  readonly admin: TransportAdmin = {
    ensureTopic: async () => {},
    topics: async () => [],
    groups: async (): Promise<readonly GroupInfo[]> => [],
    seek: async () => {},
    read: async (_topic, { after, limit }) => {
      await this.onRead()
      const from = after === undefined ? -1 : Number(after['offset'])
      const found: StoredMessage[] = []
      for (const { offset, make } of this.#slots) {
        if (found.length === limit) break
        if (offset > from) found.push({ message: make(), position: { offset } })
      }
      return found
    },
    remove: async (_topic, positions: readonly Position[]) => {
      await this.onRemove()
      const gone = new Set(positions.map(({ offset }) => Number(offset)))
      const before = this.#slots.length
      this.#slots = this.#slots.filter(({ offset }) => !gone.has(offset))
      this.removed.push(...gone)
      return before - this.#slots.length
    },
    purge: async () => undefined,
    deleteGroup: async () => {},
  }
}

export function letter(
  id: string,
  change: {
    readonly key?: string | undefined
    readonly redrives?: number | undefined
    readonly time?: number | undefined
    readonly body?: Uint8Array | undefined
  } = {},
): OutgoingMessage {
  const { key, redrives = 0, time = 0, body = Buffer.from('{}') } = change
  const headers: Record<string, string> = redrives === 0 ? {} : { 'busbar-redrives': String(redrives) }
  return makeDeadLetter(delivery(id, { topic: 't', key, headers, time, body }), {
    group: 'test',
    reason: 'exhausted',
    error: 'failed',
    attempts: 1,
    firstAt: 0,
    lastAt: 0,
  })
}
