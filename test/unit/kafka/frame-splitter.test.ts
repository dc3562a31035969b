import { expect, it } from 'vitest'
import { FrameSplitter } from '../../../src/kafka/network/frame-splitter.ts'
import { seededRandom } from '../../../src/testing/random.ts'

it('gives every frame whole, however its bytes arrive', () => {
  const random = seededRandom('frames')
  const frames = Array.from({ length: 300 }, (_, index) =>
    Buffer.from(random.bytes(index === 150 ? 3_000_000 : random.integer(4, 3_000))),
  )
  const wire = Buffer.concat(
    frames.flatMap((frame) => {
      const size = Buffer.alloc(4)
      size.writeInt32BE(frame.length)
      return [size, frame]
    }),
  )
  const splitter = new FrameSplitter(4_000_000)
  let seen = 0
  for (let pos = 0; pos < wire.length;) {
    const chunk = Buffer.from(wire.subarray(pos, pos + random.pick([1, 2, 3, 7, 100, 5_000, 65_536])))
    splitter.push(chunk, (frame) => {
      expect(frame.equals(frames[seen] ?? Buffer.alloc(0))).toBe(true)
      seen++
    })
    pos += chunk.length
  }
  expect(seen).toBe(300)
})

it.each([3, -1, 4_000_001])('refuses a frame of %d bytes before it takes memory for it', (size) => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(size)
  expect(() => new FrameSplitter(4_000_000).push(bytes, () => {})).toThrow(
    expect.objectContaining({ code: 'INVALID_LENGTH' }),
  )
})
