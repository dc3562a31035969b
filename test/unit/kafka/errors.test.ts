import { expect, it } from 'vitest'
import { PartialFailureError } from '../../../src/kafka/admin/admin-context.ts'
import { BROKER_ERRORS, brokerErrorOf } from '../../../src/kafka/error-codes.ts'
import { errorFromBroker } from '../../../src/kafka/errors.ts'
import { SendManyError } from '../../../src/kafka/producer/deliveries.ts'

it('knows every code from -1 to 133 but 0, each once and with a separate name', () => {
  expect(BROKER_ERRORS.map(({ code }) => code)).toEqual([-1, ...Array.from({ length: 133 }, (_, index) => index + 1)])
  expect(new Set(BROKER_ERRORS.map(({ name }) => name)).size).toBe(134)
})

it.each([
  [6, 'NOT_LEADER_OR_FOLLOWER', 'refresh', 'unknown'],
  [7, 'REQUEST_TIMED_OUT', 'retry', 'unknown'],
  [10, 'MESSAGE_TOO_LARGE', 'fatal', 'rejected'],
  [16, 'NOT_COORDINATOR', 'rediscover', 'unknown'],
  [25, 'UNKNOWN_MEMBER_ID', 'rejoin', 'rejected'],
  [90, 'PRODUCER_FENCED', 'fenced', 'rejected'],
  [120, 'TRANSACTION_ABORTABLE', 'abort', 'rejected'],
])('says what to do about %d', (code, name, action, outcome) => {
  expect(brokerErrorOf(code)).toMatchObject({ name, action, outcome })
})

it('says nothing about the outcome of a write that failed with an unknown code', () => {
  expect(brokerErrorOf(9_999)).toMatchObject({ name: 'UNKNOWN_CODE_9999', action: 'fatal', outcome: 'unknown' })
})

it('names the request, the code, its meaning and what the broker said', () => {
  const error = errorFromBroker(29, 'Produce to orders[3]', 'denied')
  expect(error).toMatchObject({ code: 'TOPIC_AUTHORIZATION_FAILED', brokerCode: 29, retriable: false })
  expect(error.message).toBe(
    'Produce to orders[3] failed with TOPIC_AUTHORIZATION_FAILED (29): an ACL for this topic is missing, which allows Write on the topic (the broker said: denied)',
  )
  expect(errorFromBroker(5, 'Fetch').retriable).toBe(true)
})

it.each([
  [29, 'Produce to orders[3]', 'Write on the topic'],
  [29, 'Fetch of orders[3]', 'Read on the topic'],
  [30, 'FindCoordinator of group billing', 'Describe on the group'],
  [30, 'JoinGroup of group billing', 'Read on the group'],
  [53, 'InitProducerId of tx', 'Write on the transactional id'],
  [31, 'InitProducerId', 'Write on any topic, or IdempotentWrite on the cluster'],
  [29, 'create topic orders', 'Create on the topic'],
  [29, 'Unheard of', undefined],
  [6, 'Produce to orders[3]', undefined],
])('names the right that is missing: %d in answer to %s', (code, what, missingRight) => {
  const error = errorFromBroker(code, what)
  expect(error.missingRight).toBe(missingRight)
  // Errors of many name the right of the first one.
  expect(new SendManyError('orders', 1, [{ index: 0, error }], []).missingRight).toBe(missingRight)
  expect(new PartialFailureError(new Map([['orders', error]]), error).missingRight).toBe(missingRight)
  if (missingRight !== undefined) expect(error.message).toContain(missingRight)
})
