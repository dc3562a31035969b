import { sqlite } from 'busbar/sqlite'
import type { Transport } from 'busbar'

export const create = (): Transport => sqlite({ path: process.env['BUSBAR_TEST_SQLITE'] ?? '', leaseMs: 2_000 })
