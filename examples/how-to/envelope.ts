import { createBus } from 'busbar'
import { memory } from 'busbar/memory'
import { contentTypeToWrite, fromCloudEventHeaders, toCloudEventHeaders, toCompactHeaders } from 'busbar/transport'
import type { EncodedMessage, EnvelopeForm } from 'busbar/transport'

/** A record of an imaginary broker, which has a field for ids. */
interface Stored {
  readonly id: string
  readonly topic: string
  readonly offset: number
  readonly headers: Record<string, string>
  readonly body: Uint8Array | null
}

function write(message: EncodedMessage, form: EnvelopeForm, offset: number): Stored {
  const { id, topic, body } = message
  const headers = form === 'compact' ? toCompactHeaders(message, 'ce_', { id }) : toCloudEventHeaders(message, 'ce_')
  const contentType = contentTypeToWrite(message, form)
  if (contentType !== '') headers['content-type'] = contentType
  return { id, topic, offset, headers, body }
}

function read({ id, topic, offset, headers, body }: Stored): EncodedMessage {
  const fallbackId = `${topic}/${offset}`
  return fromCloudEventHeaders(Object.entries(headers), 'ce_', { id, topic, body, fallbackId, fallbackSource: 'mine' })
}

const bus = createBus({ service: 'shop', transport: memory() })
const message = await bus.encode('orders.placed', { id: 'ord-1' }, { key: 'ord-1' })
for (const form of ['compact', 'cloudevents'] as const) {
  const stored = write(message, form, 7)
  console.log(form, Object.keys(stored.headers).join(' '))
  console.log(read(stored).correlationId === message.id)
}
await bus.close()
