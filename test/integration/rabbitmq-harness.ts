import amqp from 'amqplib'
import type { ChannelModel, ConfirmChannel } from 'amqplib'
import { afterAll, afterEach, beforeAll } from 'vitest'
import { createBus } from 'busbar'
import type { Bus, BusEventMap, BusOptions } from 'busbar'
import { rabbitmq } from 'busbar/rabbitmq'
import type { RabbitMqOptions } from 'busbar/rabbitmq'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { RabbitMqBroker } from '../../tools/brokers/index.ts'

export interface RabbitMqSuite {
  readonly broker: RabbitMqBroker
  /** A client that knows nothing of Busbar. */
  readonly connection: ChannelModel
  readonly channel: ConfirmChannel
  /** Closed after the test. Connects to the broker unless the options say how. */
  readonly bus: (options?: RabbitMqOptions, more?: Partial<BusOptions>) => Bus
  /** Names of the objects that `rabbitmqctl <command>` lists. */
  readonly names: (command: 'list_queues' | 'list_exchanges') => Promise<readonly string[]>
}

export interface RabbitMqSuiteOptions {
  /** Default: a private broker. */
  readonly start?: () => Promise<RabbitMqBroker>
  /** Tests run at once: everything is closed after the last one. Default: after each test. */
  readonly concurrent?: boolean
}

/** A broker for all tests of the suite that calls this, and what they need to work with it. */
export function rabbitMqSuite(
  service: string,
  { start = () => startPrivate('rabbitmq'), concurrent = false }: RabbitMqSuiteOptions = {},
): RabbitMqSuite {
  let broker: RabbitMqBroker
  let connection: ChannelModel
  let channel: ConfirmChannel
  const buses: Bus[] = []

  beforeAll(async () => {
    broker = await start()
    connection = await amqp.connect(broker.url)
    channel = await connection.createConfirmChannel()
  })
  const closeBuses = async (): Promise<void> => {
    for (const bus of buses.splice(0)) await bus.close({ timeoutMs: 500 })
  }
  if (!concurrent) afterEach(closeBuses)
  afterAll(async () => {
    await closeBuses()
    await connection.close()
    await broker.stop()
  })

  return {
    get broker() {
      return broker
    },
    get connection() {
      return connection
    },
    get channel() {
      return channel
    },
    bus: (options = {}, more = {}) => {
      const isPlaced = options.url ?? options.connect ?? options.client
      const transport = rabbitmq(isPlaced === undefined ? { url: broker.url, ...options } : options)
      const made = createBus({ service, transport, ...more })
      buses.push(made)
      return made
    },
    names: async (command) => (await broker.ctl('-q', command, 'name')).split('\n').map((name) => name.trim()),
  }
}

/** What the bus reports under that name, from now on. */
export function record<Name extends keyof BusEventMap>(bus: Bus, name: Name): readonly BusEventMap[Name][] {
  const seen: BusEventMap[Name][] = []
  bus.events.on(name, (event) => void seen.push(event))
  return seen
}
