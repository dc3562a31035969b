import { createClient } from 'busbar/kafka/client'

const kafka = createClient({ brokers: ['localhost:9092'], clientId: 'hello', ...fromEnvironment() })

try {
  const { topics } = kafka.admin()
  if (!(await topics.list()).includes('greetings')) await topics.create([{ name: 'greetings', partitions: 3 }])

  const producer = kafka.producer()
  await producer.send({ topic: 'greetings', key: 'ada', value: 'Hello, Ada!' })

  const consumer = kafka.consumer({ topics: ['greetings'], group: 'readers' })
  await consumer.run({
    handler: (record) => {
      console.log(`${record.keyText}: ${record.valueText}`)
      void kafka.close() // waits for this handler, commits and leaves the group; then `run` resolves
    },
  })
} finally {
  await kafka.close() // safe to call twice; without it, an error would leave the process running
}

function fromEnvironment() {
  const list = process.env['KAFKA_BROKERS']
  return list === undefined ? {} : { brokers: list.split(',') }
}
