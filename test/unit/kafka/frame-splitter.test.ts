import { expect, it } from 'vitest'
import { FrameSplitter } from '../../../src/kafka/network/frame-splitter.ts'
import { seededRandom } from '../../../src/testing/random.ts'

const random = seededRandom('frames')
const FRAMES = Array.from({ length: 300 }, (_, index) =>
  Buffer.from(random.bytes(index === 150 ? 26_000_000 : random.integer(4, 3_000))),
)
const WIRE = Buffer.concat(
  FRAMES.flatMap((frame) => {
    const size = Buffer.alloc(4)
    size.writeInt32BE(frame.length)
    return [size, frame]
  }),
)

it.each(['anywhere', 'where they belong'])('gives every frame whole, however its bytes arrive, put %s', (where) => {
  const splitter = new FrameSplitter(30_000_000)
  const frames: Buffer[] = []
  // As a socket does it, which uses its memory again.
  const scratch = Buffer.alloc(65_536)
  let inPlace = 0
  for (let pos = 0; pos < WIRE.length;) {
    const room = where === 'anywhere' ? undefined : splitter.room()
    const target = room ?? scratch
    const length = Math.min(target.length, WIRE.length - pos, random.pick([1, 2, 3, 7, 100, 5_000, 65_536, 65_536]))
    WIRE.copy(target, 0, pos, pos + length)
    if (room !== undefined) inPlace += length
    splitter.push(target.subarray(0, length), (frame) => frames.push(frame))
    pos += length
    scratch.fill(0)
  }
  expect(frames.length).toBe(FRAMES.length)
  expect(frames.every((frame, index) => frame.equals(FRAMES[index] as Buffer))).toBe(true)
  expect(inPlace > 25_000_000).toBe(where === 'where they belong')
})

it.each([3, -1, 4_000_001])('refuses a frame of %d bytes before it takes memory for it', (size) => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(size)
  expect(() => new FrameSplitter(4_000_000).push(bytes, () => {})).toThrow(
    expect.objectContaining({ code: 'INVALID_LENGTH' }),
  )
})
