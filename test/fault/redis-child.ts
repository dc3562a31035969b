import { redis } from 'busbar/redis'
import type { Transport } from 'busbar'
import { QUICK } from './redis-options.ts'

export const create = (): Transport => redis({ ...QUICK, url: process.env['BUSBAR_TEST_REDIS'] ?? '' })
