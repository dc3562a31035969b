import { describe, expect, test } from 'vitest'
import { useKafka } from './kafka-broker.ts'
import { QUICK_GROUPS, setUpConsumers } from './kafka-consumer-setup.ts'
import { consumerTests } from './kafka-consumer-suite.ts'
import { FORGETFUL, fencingTests, producerTests, transactionTests } from './kafka-producer-suite.ts'

describe('Apache Kafka 3.9', () => {
  const properties = { ...QUICK_GROUPS.properties, ...FORGETFUL.properties }
  const kafka = useKafka({ version: '3.9', properties })

  producerTests(kafka)
  transactionTests(kafka, 1)
  fencingTests(kafka, 1)
  consumerTests(kafka)

  test('has no share groups, and a share consumer says so', { timeout: 30_000 }, async (context) => {
    const { shareConsumer, close } = await setUpConsumers(context, kafka)
    const member = shareConsumer()
    await expect(member.next()).rejects.toMatchObject({ code: 'UNSUPPORTED_API', action: 'fatal' })
    await member.close()
    await close()
  })
})
