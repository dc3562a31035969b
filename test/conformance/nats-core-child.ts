import { nats } from '../../src/transports/nats/index.ts'
import type { NatsTransport } from '../../src/transports/nats/index.ts'

export const create = (): NatsTransport => nats({ url: process.env['BUSBAR_TEST_NATS'] ?? '', jetstream: false })
