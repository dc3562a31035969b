import { createBus } from 'busbar'
import { transportFromUrl } from 'busbar/url'

const transport = await transportFromUrl(process.env['BUS_URL'] ?? 'memory:')
const bus = createBus({ service: 'greeter', transport })

// The group "greeter" has a place of its own for what it has not handled: a queue, or a position in the log.
bus.consume('patterns.greetings', ({ data }) => console.log('received', data))
await bus.start()

const handled = bus.events.once('ack')
await bus.publish('patterns.greetings', 'Hello, world!') // resolves when the broker has written it
await handled
await bus.close()
