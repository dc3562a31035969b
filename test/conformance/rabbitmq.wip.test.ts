import amqp from 'amqplib'
import * as vitest from 'vitest'
import { rabbitmq } from '../../src/transports/rabbitmq/index.ts'
import { conformance, tcpProxy } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'

const broker = await startPrivate('rabbitmq')
const proxy = await tcpProxy({ port: broker.port })
const url = `amqp://${proxy.host}:${proxy.port}`
vitest.afterAll(async () => {
  await proxy.close()
  await broker.stop()
})

conformance(vitest, {
  name: 'rabbitmq',
  version: broker.version,
  create: () => rabbitmq({ url }),
  childModule: new URL('./rabbitmq-child.ts', import.meta.url),
  childEnv: { BUSBAR_TEST_RABBITMQ: broker.url },
  foreign: {
    async publish(topic, body, headers) {
      const connection = await amqp.connect(broker.url)
      const channel = await connection.createConfirmChannel()
      channel.publish('busbar', topic, Buffer.from(body), { headers })
      await channel.waitForConfirms()
      await connection.close()
    },
  },
  faults: {
    cutConnections: () => proxy.cut(),
    restartBroker: () => broker.restart(),
    async killBroker() {
      await broker.kill()
      await broker.restart()
    },
    async pauseBroker(ms) {
      await broker.pause()
      await new Promise((resolve) => setTimeout(resolve, ms))
      await broker.resume()
    },
  },
})
