import assert from 'node:assert/strict'
import { test } from 'vitest'
import { bucketOf } from '../../../src/transports/rabbitmq/partitions/key-bucket.ts'

// Part of the wire format: programs without Busbar compute it too. The first four are in docs/reference/transports/rabbitmq.md.
test.each([
  ['a', 0],
  ['order-1', 18],
  ['customer-42', 22],
  ['žluť', 12],
  ['7', 26],
  ['😀', 10],
  ['x'.repeat(300), 20],
])('the bucket of the key %s is %i', (key, bucket) => {
  assert.equal(bucketOf(key), bucket)
})
