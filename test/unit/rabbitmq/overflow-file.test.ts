import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { OverflowFile } from '../../../src/transports/rabbitmq/consume/overflow-file.ts'
import type { OverflowPlace } from '../../../src/transports/rabbitmq/consume/overflow-file.ts'

const MIB = 1_048_576
let folder: string
let file: OverflowFile

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'busbar-overflow-'))
  file = new OverflowFile(folder)
})
afterEach(() => {
  file.close()
  rmSync(folder, { recursive: true, force: true })
})

/** Descriptors of this process that lead to files in the folder. */
function openFiles(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder)
    } catch {
      return false
    }
  }).length
}

test('a body comes back as it was, in any order, whatever was written and dropped meanwhile', () => {
  const random = seededRandom('overflow')
  const kept: { place: OverflowPlace; body: Buffer }[] = []
  for (let step = 0; step < 500; step++) {
    if (kept.length > 0 && random.next() < 0.5) {
      const [{ place, body }] = kept.splice(random.integer(0, kept.length - 1), 1) as [(typeof kept)[number]]
      if (random.next() < 0.2) file.drop(place)
      else assert.ok(body.equals(file.take(place)), `step ${step}`)
    } else {
      const body = Buffer.alloc(random.integer(1, MIB), step)
      kept.push({ place: file.write(body), body })
    }
  }
  for (const { place, body } of kept) assert.ok(body.equals(file.take(place)))
})

test('nothing of it has a name that others could open, or that outlives the process', () => {
  file.write(Buffer.alloc(10))
  assert.deepEqual(readdirSync(folder), [])
})

test.runIf(process.platform === 'linux')('what was taken or dropped gives its space back, and close the rest', () => {
  const places = Array.from({ length: 64 }, () => file.write(Buffer.alloc(MIB)))
  assert.equal(openFiles(), 4)
  for (const place of places.slice(0, 40)) file.take(place)
  assert.equal(openFiles(), 2)
  for (const place of places.slice(40)) file.drop(place)
  assert.equal(openFiles(), 1)
  for (let times = 0; times < 100; times++) file.take(file.write(Buffer.alloc(MIB)))
  assert.equal(openFiles(), 1)
  file.close()
  assert.equal(openFiles(), 0)
})

test('a folder that takes no files is an error at the write', () => {
  const missing = new OverflowFile(join(folder, 'missing'))
  assert.throws(() => missing.write(Buffer.alloc(1)), { code: 'ENOENT' })
  missing.close()
})
