import { createBus } from 'busbar'
import type { Handler } from 'busbar'
import { transportFromUrl } from 'busbar/url'

const transport = await transportFromUrl(process.env['BUS_URL'] ?? 'memory:')
const bus = createBus({ service: 'logs', transport })

const print =
  (name: string): Handler =>
  ({ topic, data }) =>
    console.log(`${name}: ${topic}: ${String(data)}`)

// Direct: one routing key. Topic: a pattern of routing keys. Fanout: every group gets every message.
bus.consume('patterns.logs.error', print('direct'), { group: 'pager' })
bus.consume('patterns.logs.*', print('topic'), { group: 'archive' })
bus.consume('patterns.logs.*', print('fanout'), { group: 'screen' })
// Headers: the consumer looks at them itself.
bus.consume('patterns.logs.*', (message, ctx) => message.headers['team'] === 'db' && print('headers')(message, ctx), {
  group: 'db-team',
})
await bus.start()

let open = 7
const handled = bus.events.once('ack', { filter: () => --open === 0 })
await bus.publish('patterns.logs.info', 'started')
await bus.publish('patterns.logs.error', 'disk full', { headers: { team: 'db' } })
await handled
await bus.close()
