import { createBus, defineEvent } from 'busbar'
import { transportFromUrl } from 'busbar/url'
import { z } from 'zod'

const Greeting = defineEvent('greetings.sent', z.object({ name: z.string() }))

const transport = await transportFromUrl(process.env['BUS_URL'] ?? 'memory:')
const bus = createBus({ service: 'hello', transport })

let hasVoice = false
bus.consume(
  Greeting,
  (message, ctx) => {
    console.log(`attempt ${ctx.attempt}`)
    if (!hasVoice) throw new Error('lost my voice')
    console.log(`Hello, ${message.data.name}!`)
  },
  { retry: { attempts: 3, baseMs: 100 } },
)

await bus.start()

const died = bus.events.once('deadLetter')
await bus.publish(Greeting, { name: 'Ada' })
await died

const deadLetters = bus.deadLetters(Greeting)
for (const letter of await deadLetters.list()) {
  console.log(`${letter.reason} after ${letter.attempts} attempts: ${letter.errorMessage}`)
}

hasVoice = true
const handled = bus.events.once('ack')
console.log('sending it back')
await deadLetters.redrive()
await handled
await bus.close()
