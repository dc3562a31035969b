import assert from 'node:assert/strict'
import { test } from 'vitest'
import { sharing, topicSet } from '../../../src/transports/rabbitmq/partitions/topic-set.ts'

test('what a member says of its topics does not depend on their order, and stays short', () => {
  const many = Array.from({ length: 1_000 }, (_, number) => `topic.${number}`)
  assert.equal(topicSet(many, 5), topicSet(many.toReversed(), 5))
  assert.notEqual(topicSet(many, 5), topicSet(many.slice(1), 5))
  assert.ok(topicSet(many, Date.now()).length < 50)
})

test('all members share the queues of a topic of its own, and those that handle the same topics', () => {
  assert.deepEqual(
    sharing(
      new Map([
        ['a', undefined],
        ['b', undefined],
      ]),
    ),
    ['a', 'b'],
  )
  const same = new Map([
    ['a', topicSet(['x', 'y'], 1)],
    ['b', topicSet(['y', 'x'], 2)],
  ])
  assert.deepEqual(sharing(same), ['a', 'b'])
})

test('while a version with more topics is rolled out, its members have the queues', () => {
  const members = new Map([
    ['old1', topicSet(['x', 'y'], 1)],
    ['new', topicSet(['x', 'y', 'z'], 9)],
    ['old2', topicSet(['x', 'y'], 2)],
  ])
  assert.deepEqual(sharing(members), ['new'])
  members.delete('new')
  assert.deepEqual(sharing(members), ['old1', 'old2'])
})

test('while a version with other topics is rolled out, its members have the queues, whatever old member starts again', () => {
  const members = new Map([
    ['old1', topicSet(['x', 'y'], 1)],
    ['new1', topicSet(['x', 'z'], 8)],
    ['new2', topicSet(['x', 'z'], 9)],
    ['old2', topicSet(['x', 'y'], 20)],
  ])
  assert.deepEqual(sharing(members), ['new1', 'new2'])
})
