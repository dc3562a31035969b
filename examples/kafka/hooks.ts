import { createClient } from 'busbar/kafka/client'

const brokers = process.env['KAFKA_BROKERS']?.split(',') ?? ['localhost:9092']
const kafka = createClient({
  clientId: 'shop',
  brokers,
  hooks: {
    onConnection: ({ type, broker, purpose }) =>
      console.log(`${type}: broker ${broker.nodeId ?? 'unknown'}, ${purpose}`),
    onRequest: ({ api, durationMs, error }) => histogram(`kafka.${api}`, durationMs, error?.code ?? 'ok'),
    onThrottle: ({ broker, ms }) => console.warn(`broker ${broker.nodeId} wants ${ms} ms of silence`),
    onTrouble: ({ type, about, name, error }) => console.warn(`${type}: ${about} ${name}: ${error.message}`),
    onBatch: ({ topic, records, error }) =>
      console.log(`batch of ${records} for ${topic}: ${error?.code ?? 'confirmed'}`),
    onRebalance: ({ type, partitions }) => console.log(`${type}: ${partitions.length} partitions`),
    onLoss: (loss) => console.error('records were missed', loss),
  },
})

try {
  await kafka.producer().send({ topic: 'orders', key: 'ord-4', value: '{"total":1}' })
} finally {
  await kafka.close()
}

function histogram(_name: string, _durationMs: number, _result: string): void {
  // Your metrics library.
}
