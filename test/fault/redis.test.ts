import { redis } from 'busbar/redis'
import type { Transport } from 'busbar'
import { startPrivate } from '../../tools/brokers/index.ts'
import { faultSuite } from './fault-suite.ts'
import { processFaultSuite } from './process-fault-suite.ts'
import { QUICK } from './redis-options.ts'

interface Place {
  readonly host: string
  readonly port: number
}

const start = () => startPrivate('redis')
const create = ({ host, port }: Place): Transport => redis({ ...QUICK, host, port })

faultSuite({
  name: 'redis',
  start,
  create,
  impatient: ({ host, port }) => redis({ ...QUICK, host, port, responseTimeoutMs: 1_000 }),
})

processFaultSuite({
  name: 'redis',
  start,
  create,
  childModule: new URL('./redis-child.ts', import.meta.url),
  childEnv: ({ url }) => ({ BUSBAR_TEST_REDIS: url }),
  freezeMs: QUICK.leaseMs + 1_000,
})
