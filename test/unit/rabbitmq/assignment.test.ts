import assert from 'node:assert/strict'
import { test } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { assign, standbyLine } from '../../../src/transports/rabbitmq/partitions/assignment.ts'

test('golden: members of different versions must agree, or two would wait for one partition and none for another', () => {
  assert.deepEqual(assign(8, ['a', 'b', 'c']), ['c', 'c', 'c', 'a', 'b', 'a', 'b', 'b'])
  assert.deepEqual(assign(3, ['m1']), ['m1', 'm1', 'm1'])
})

test('everyone gets the same number, give or take one; the order of the members does not matter', () => {
  const random = seededRandom('assignment')
  for (let round = 0; round < 100; round++) {
    const partitions = random.integer(1, 32)
    const members = Array.from({ length: random.integer(1, 40) }, (_, index) => `m${index}-${random.next()}`)
    const owners = assign(partitions, members)
    assert.equal(owners.length, partitions)
    const loads = members.map((member) => owners.filter((owner) => owner === member).length)
    assert.ok(Math.max(...loads) - Math.min(...loads) <= 1)
    assert.deepEqual(assign(partitions, random.shuffle(members)), owners)
  }
})

test('few partitions move when a member leaves: its own, and those that keep the loads even', () => {
  const random = seededRandom('moves')
  let moved = 0
  for (let round = 0; round < 50; round++) {
    const members = Array.from({ length: 8 }, () => `m-${random.next()}`)
    const before = assign(32, members)
    const after = assign(32, members.slice(1))
    moved += before.filter((owner, partition) => owner !== members[0] && owner !== after[partition]).length
  }
  // Of the 28 that stay with the others in each round, a fifth.
  assert.ok(moved / 50 < 28 / 5, `${moved / 50} of 28 moved`)
})

test('the first in line for a partition is the member that gets it when its owner leaves', () => {
  const random = seededRandom('line')
  for (let round = 0; round < 50; round++) {
    const partitions = random.integer(1, 8)
    const members = Array.from({ length: partitions + random.integer(1, 12) }, () => `m-${random.next()}`)
    const owners = assign(partitions, members)
    for (const [partition, owner] of owners.entries()) {
      const line = standbyLine(partition, owners, members)
      assert.deepEqual([...line].sort(), members.filter((member) => member !== owner).sort())
      const left = members.filter((member) => member !== owner)
      assert.equal(line[0], assign(partitions, left)[partition])
    }
  }
})
