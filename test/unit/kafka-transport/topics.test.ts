import { expect, it } from 'vitest'
import { KafkaError } from '../../../src/kafka/index.ts'
import type { KafkaClient } from '../../../src/kafka/index.ts'
import type { Reports } from '../../../src/transports/kafka/reports.ts'
import { resolveKafkaOptions } from '../../../src/transports/kafka/resolve-options.ts'
import { Topics } from '../../../src/transports/kafka/topology/topics.ts'

const inDoubt = (): KafkaError =>
  new KafkaError('create topics may have been carried out: the connection was lost', {
    code: 'CONNECTION_CLOSED',
    action: 'fatal',
    outcome: 'unknown',
  })
const isThere = (): KafkaError =>
  new KafkaError('the topic exists', { code: 'TOPIC_ALREADY_EXISTS', action: 'fatal', outcome: 'not-sent' })

/** `create` ends with each of these in turn, and then succeeds. The topic can't be described yet. */
function topicsWith(errors: KafkaError[]): { readonly topics: Topics; readonly asked: () => number } {
  let asked = 0
  const create = async (): Promise<void> => {
    asked++
    const error = errors.shift()
    if (error !== undefined) throw error
  }
  const describe = async (): Promise<never> => {
    throw new KafkaError('unknown', { code: 'UNKNOWN_TOPIC_OR_PARTITION', action: 'fatal', outcome: 'not-sent' })
  }
  const client = {
    admin: () => ({ topics: { create, describe }, cluster: { describe: async () => ({ brokers: [1] }) } }),
  } as unknown as KafkaClient
  return { topics: new Topics(resolveKafkaOptions({}), client, {} as Reports), asked: () => asked }
}

it('makes a topic again when the connection was lost before the answer', async () => {
  const { topics, asked } = topicsWith([inDoubt(), isThere()])
  await topics.ensure('orders')
  expect([topics.isKnown('orders'), asked()]).toEqual([true, 2])
})

it('gives up when that happens again and again', async () => {
  const { topics, asked } = topicsWith(Array.from({ length: 9 }, inDoubt))
  await expect(topics.ensure('orders')).rejects.toThrow('may have been carried out')
  expect([topics.isKnown('orders'), asked()]).toEqual([false, 5])
})

it('does not repeat what was refused', async () => {
  const refused = new KafkaError('no', { code: 'POLICY_VIOLATION', action: 'fatal', outcome: 'not-sent' })
  const { topics, asked } = topicsWith([refused])
  await expect(topics.ensure('orders')).rejects.toBe(refused)
  expect(asked()).toBe(1)
})
