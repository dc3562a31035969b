import { readFileSync } from 'node:fs'
import { createClient } from 'busbar/kafka/client'

const kafka = createClient({
  brokers: process.env['KAFKA_BROKERS']?.split(',') ?? ['kafka.example.org:9093'],
  clientId: 'shop',
  // Called for each connection: a renewed certificate counts from the next one on.
  tls: () => ({ ca: readFileSync(process.env['KAFKA_CA'] ?? 'ca.pem') }),
  sasl: {
    mechanism: 'scram-sha-512',
    // Called for each authentication, also before a session ends: a changed password counts from the next one on.
    credentials: () => ({
      username: process.env['KAFKA_USERNAME'] ?? 'shop',
      password: process.env['KAFKA_PASSWORD'] ?? '',
    }),
  },
})

try {
  const { brokers } = await kafka.admin().cluster.describe()
  console.log(`authenticated; ${brokers.length} broker(s)`)
} finally {
  await kafka.close()
}
