import { createBus } from 'busbar'
import { memory } from 'busbar/memory'

const bus = createBus({ service: 'hello', transport: memory() })
bus.consume('greetings.sent', (message) => console.log(`Hello, ${String(message.data)}!`))

await bus.start()
const handled = bus.events.once('ack')
await bus.publish('greetings.sent', 'Ada')
await handled
await bus.close()
