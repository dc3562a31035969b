import { startPrivate } from '../../tools/brokers/index.ts'
import { redisConformance } from './redis-suite.ts'

await redisConformance('redis', await startPrivate('redis'))
