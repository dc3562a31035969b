import { createBus, defineEvent, textCodec } from 'busbar'
import { memory } from 'busbar/memory'
import { z } from 'zod'

// The type alone: your word for it, and nothing is checked when it runs.
const LineRead = defineEvent<string>('lines.read', { codec: textCodec })

// JSON has no dates. The wire holds a string, and the schema makes a Date of it.
const VisitEnded = defineEvent(
  'visits.ended',
  z.object({ page: z.string(), at: z.iso.datetime().transform((text) => new Date(text)) }),
  { version: 2 },
)

const bus = createBus({ service: 'visits', transport: memory() })
bus.consume(LineRead, (message) => console.log(message.data.toUpperCase(), message.contentType))
bus.consume(VisitEnded, (message) => console.log(message.data.at.getUTCFullYear(), `version ${message.version}`))
await bus.start()

const first = bus.events.once('ack')
await bus.publish(LineRead, 'as it is, without quotes')
await first

const second = bus.events.once('ack')
// What is published is the schema's input; the handler gets its output.
await bus.publish(VisitEnded, { page: '/', at: new Date('2026-01-05T07:00:00Z').toISOString() })
await second
await bus.close()
