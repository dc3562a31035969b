import {
  Consumer,
  MessagesStreamFallbackModes,
  MessagesStreamModes,
  Producer,
  compatibilityPartitioner,
} from '@platformatic/kafka'
import { command, inputRecords, printRecord, settings, untilInputEnds } from './wire.mjs'

const { brokers, topic, compression = 'none', group, protocol = 'classic', transaction } = settings
const base = { clientId: 'platformatic', bootstrapBrokers: brokers }

if (command === 'produce') {
  // It is fenced where another process has used the id before: it asks for it as if it had been producer 0.
  const transactional = transaction === undefined ? {} : { transactionalId: `platformatic-${topic}-${process.pid}` }
  const producer = new Producer({ ...base, partitioner: compatibilityPartitioner, idempotent: true, ...transactional })
  const messages = (await inputRecords()).map(({ partition, key, value, headers, timestamp }) => ({
    topic,
    key: key ?? undefined,
    value: value ?? undefined,
    headers: new Map(headers.map(([name, bytes]) => [Buffer.from(name), bytes])),
    timestamp: BigInt(timestamp),
    ...(partition === null ? {} : { partition }),
  }))
  const target = transaction === undefined ? producer : await producer.beginTransaction()
  await target.send({ messages, compression })
  if (transaction !== undefined) await target[transaction]()
  await producer.close()
} else {
  const settings =
    protocol === 'consumer' ? { groupProtocol: protocol } : { heartbeatInterval: 500, sessionTimeout: 10_000 }
  const consumer = new Consumer({ ...base, groupId: group, maxWaitTime: 100, ...settings })
  const stream = await consumer.consume({
    topics: [topic],
    mode: MessagesStreamModes.COMMITTED,
    fallbackMode: MessagesStreamFallbackModes.EARLIEST,
  })
  stream.on('data', ({ partition, key, value, headers, timestamp }) => {
    const pairs = [...headers].map(([name, bytes]) => [name.toString(), bytes])
    printRecord({ partition, key, value, headers: pairs, timestamp: Number(timestamp) })
  })
  await untilInputEnds()
  await consumer.close(true)
}
