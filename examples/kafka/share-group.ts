import { createClient } from 'busbar/kafka/client'

const brokers = process.env['KAFKA_BROKERS']?.split(',') ?? ['localhost:9092']
const kafka = createClient({ clientId: 'mailer', brokers })

// A share group begins at the end of the log unless its config says otherwise.
const group = { type: 'group', name: 'mailers' } as const
await kafka.admin().configs.alter(group, { set: { 'share.auto.offset.reset': 'earliest' } })

const consumer = kafka.shareConsumer({ group: 'mailers', topics: ['orders'] })
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void kafka.close())

try {
  await consumer.run({
    concurrency: 20,
    handler: async (shared) => {
      const { keyText, valueText } = shared.record
      if (valueText === null) return void shared.reject() // can't be handled: it does not come again
      await sendMail(`${keyText}, delivery ${shared.deliveryCount}`)
      // What has no verdict when the handler returns is accepted.
    },
    // It was released, and comes again, here or at another member.
    onError: (error, shared) => console.error(`${shared.topic} ${shared.offset}:`, error),
  })
} finally {
  await kafka.close()
}

async function sendMail(text: string): Promise<void> {
  console.log(`mail for ${text}`)
}
