import { randomUUID } from 'node:crypto'
import { closeSync, ftruncateSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** A part is closed, and its space free again, when nothing in it is needed any more. */
const PART_BYTES = 16_777_216

interface Part {
  readonly file: number
  end: number
  /** Number of bodies in it that are still needed. */
  live: number
}

/** Where a body is. */
export interface OverflowPlace {
  readonly part: Part
  readonly at: number
  readonly bytes: number
}

/**
 * Bodies on disk, in files without a name: nobody else can open them, and they end with the process, whatever ends it. Reads and
 * writes are synchronous, because what waits for a write would need the very memory that is to be saved.
 */
export class OverflowFile {
  readonly #folder: string
  #current: Part | undefined
  readonly #full = new Set<Part>()

  constructor(folder: string) {
    this.#folder = folder
  }

  /** Throws when the disk does not take it; nothing is written then. */
  write(body: Uint8Array): OverflowPlace {
    const part = this.#partFor(body.byteLength)
    const at = part.end
    for (let done = 0; done < body.byteLength;)
      done += writeSync(part.file, body, done, body.byteLength - done, at + done)
    part.end = at + body.byteLength
    part.live++
    return { part, at, bytes: body.byteLength }
  }

  /** Reads a body, which is not needed here any more. Throws when it can't be read; it is still there then. */
  take(place: OverflowPlace): Uint8Array {
    const body = Buffer.allocUnsafeSlow(place.bytes)
    for (let done = 0; done < body.length;) {
      const read = readSync(place.part.file, body, done, body.length - done, place.at + done)
      if (read === 0) throw new Error('the file ends before the body does')
      done += read
    }
    this.drop(place)
    return body
  }

  /** The body is not needed any more. */
  drop({ part }: OverflowPlace): void {
    if (--part.live > 0) return
    if (part === this.#current) {
      part.end = 0
      ftruncateSync(part.file)
    } else if (this.#full.delete(part)) closeSync(part.file)
  }

  close(): void {
    for (const { file } of this.#full) closeSync(file)
    if (this.#current !== undefined) closeSync(this.#current.file)
    this.#full.clear()
    this.#current = undefined
  }

  #partFor(bytes: number): Part {
    const current = this.#current
    if (current !== undefined && (current.end === 0 || current.end + bytes <= PART_BYTES)) return current
    const part = { file: openUnnamed(this.#folder), end: 0, live: 0 }
    if (current !== undefined) this.#full.add(current)
    this.#current = part
    return part
  }
}

function openUnnamed(folder: string): number {
  const path = join(folder, `busbar-${randomUUID()}`)
  const file = openSync(path, 'wx+', 0o600)
  try {
    rmSync(path)
  } catch (error) {
    closeSync(file)
    throw error
  }
  return file
}
