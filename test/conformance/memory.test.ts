import * as vitest from 'vitest'
import { memory, memoryBroker } from 'busbar/memory'
import { conformance } from 'busbar/testing'

const broker = memoryBroker()

conformance(vitest, {
  name: 'memory',
  create: () => memory({ broker }),
  childModule: new URL('./memory-child.ts', import.meta.url),
})
