import { rabbitmq } from '../../src/transports/rabbitmq/index.ts'
import type { Transport } from 'busbar'

export const create = (): Transport => rabbitmq({ url: process.env['BUSBAR_TEST_RABBITMQ'] ?? '' })
