import { createClient } from 'busbar/kafka/client'

const brokers = process.env['KAFKA_BROKERS']?.split(',') ?? ['localhost:9092']
const kafka = createClient({ clientId: 'shop', brokers })
const producer = kafka.producer({ compression: 'gzip' })

try {
  const sent = await producer.send({
    topic: 'orders',
    key: 'ord-1',
    value: JSON.stringify({ total: 42 }),
    headers: [{ key: 'source', value: 'web' }],
  })
  console.log(`ord-1 is at ${sent.topic}[${sent.partition}], offset ${sent.offset}`)

  await producer.sendMany('orders', [
    { key: 'ord-2', value: JSON.stringify({ total: 7 }) },
    { key: 'ord-3', value: JSON.stringify({ total: 9 }) },
  ])
} finally {
  await kafka.close() // sends what is left; a client that is not closed keeps the process alive
}
