import type { Transport } from 'busbar'
import { rabbitmq } from '../../src/transports/rabbitmq/index.ts'

export const create = (): Transport => rabbitmq({ url: process.env['BUSBAR_TEST_RABBITMQ'] ?? '', heartbeatMs: 2_000 })
