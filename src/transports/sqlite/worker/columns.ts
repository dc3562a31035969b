import type { StoredColumns } from '../protocol.ts'

/** Collects rows of the log to send to the main thread. */
export class StoredWriter {
  readonly #topic: string
  readonly #ids: string[] = []
  readonly #keys: (string | null)[] = []
  readonly #metas: string[] = []
  readonly #numbers: number[] = []
  readonly #bodies: Uint8Array[] = []
  #bodyBytes = 0
  /** Total size of all rows, as counted against credit in bytes. */
  bytes = 0

  constructor(topic: string) {
    this.#topic = topic
  }

  get count(): number {
    return this.#ids.length
  }

  add(
    seq: number,
    id: string,
    key: string | null,
    time: number,
    meta: string,
    body: Uint8Array,
    size: number,
    attempt: number,
    history: number,
    firstAt: number,
  ): void {
    this.#ids.push(id)
    this.#keys.push(key)
    // Messages of one publisher mostly have the same meta: it is sent and parsed only once.
    if (this.#metas.at(-1) !== meta) this.#metas.push(meta)
    this.#numbers.push(seq, time, attempt, history, firstAt, this.#metas.length - 1, body.byteLength, size)
    this.#bodies.push(body)
    this.#bodyBytes += body.byteLength
    this.bytes += size
  }

  finish(): StoredColumns {
    const bodies = new Uint8Array(this.#bodyBytes)
    let at = 0
    for (const body of this.#bodies) {
      bodies.set(body, at)
      at += body.byteLength
    }
    return {
      topic: this.#topic,
      ids: this.#ids,
      keys: this.#keys,
      metas: this.#metas,
      numbers: Float64Array.from(this.#numbers),
      bodies,
    }
  }
}

/** The buffers to transfer instead of copying them. */
export function transferOf(columns: StoredColumns): ArrayBuffer[] {
  return [columns.numbers.buffer as ArrayBuffer, columns.bodies.buffer as ArrayBuffer]
}
