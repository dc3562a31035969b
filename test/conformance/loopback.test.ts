import * as vitest from 'vitest'
import { conformance } from 'busbar/testing'
import { loopback, LoopbackBroker } from '../../examples/write-a-transport/loopback.ts'

// The transport of docs/how-to/write-a-transport.md: few capabilities, so that what the suite does without them is tried too.
const broker = new LoopbackBroker()

conformance(vitest, { name: 'loopback', create: () => loopback(broker), report: false })
