import { createBus } from 'busbar'
import { memory } from 'busbar/memory'
import { throttle } from 'busbar/middleware'

const bus = createBus({ service: 'notifications', transport: memory() })

// 20 a second for each customer, however much mail the others have.
const perCustomer = throttle({ perSecond: 20, burst: 1, key: (message) => message.key ?? '' })

const startedAt = performance.now()
const done = Promise.withResolvers<void>()
let sent = 0
bus.consume(
  'mails.requested',
  () => {
    if (++sent === 6) done.resolve()
  },
  { middleware: [perCustomer] },
)

await bus.start()
for (const key of ['ada', 'ada', 'ada', 'ada', 'ada', 'bob']) await bus.publish('mails.requested', {}, { key })
await done.promise
console.log(`five mails to one customer took ${performance.now() - startedAt < 200 ? 'less' : 'no less'} than 200 ms`)
await bus.close()
