import { createBus, defineEvent } from 'busbar'
import { transportFromUrl } from 'busbar/url'
import { z } from 'zod'

const Greeting = defineEvent('greetings.sent', z.object({ name: z.string() }))

const transport = await transportFromUrl(process.env['BUS_URL'] ?? 'memory:')
const bus = createBus({ service: 'hello', transport })

bus.consume(Greeting, (message) => {
  console.log(`Hello, ${message.data.name}! (message ${message.id}, sent by ${message.source})`)
})

await bus.start()

const handled = bus.events.once('ack')
await bus.publish(Greeting, { name: 'Ada' })
await handled
await bus.close()
