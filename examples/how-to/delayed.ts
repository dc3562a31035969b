import { createBus, defineEvent } from 'busbar'
import { memory } from 'busbar/memory'
import { z } from 'zod'

const ReminderDue = defineEvent('reminders.due', z.object({ orderId: z.string() }))

const bus = createBus({ service: 'reminders', transport: memory() })
bus.consume(ReminderDue, (message) => console.log(`remind the customer of ${message.data.orderId}`))
await bus.start()

const first = bus.events.once('ack')
await bus.publish(ReminderDue, { orderId: 'ord-1' }, { delayMs: 100 })
console.log('published, not delivered yet')
await first

const second = bus.events.once('ack')
await bus.publish(ReminderDue, { orderId: 'ord-2' }, { deliverAt: new Date(Date.now() + 100) })
await second
await bus.close()
