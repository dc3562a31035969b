import { Connection } from 'rabbitmq-client'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measurePeer } from '../harness/measure-peer.ts'
import type { PeerQueue } from '../harness/measure-peer.ts'
import { requiredUrl } from '../harness/required-url.ts'

// Publisher with confirms and Consumer, persistent messages, durable queue. `--queue` is quorum or classic.

const args = readCaseArguments()
const PREFETCH = 1_000

function fail(error: unknown): never {
  console.error(error)
  process.exit(1)
}

async function open(name: string): Promise<PeerQueue> {
  const noDelay = args.option('no-delay', 'true') === 'true'
  const connection = new Connection({ url: requiredUrl('rabbitmq'), noDelay })
  connection.on('error', fail)
  await connection.onConnect()
  const queueArguments = { 'x-queue-type': args.option('queue', 'quorum') as 'quorum' | 'classic' }
  await connection.queueDeclare({ queue: name, durable: true, arguments: queueArguments })
  const publisher = connection.createPublisher({ confirm: true })
  const consumers: { close(): Promise<void> }[] = []
  return {
    publish(body, confirmed) {
      publisher.send({ routingKey: name, durable: true }, body).then(confirmed, fail)
    },
    async consume(handle, settled) {
      const consumer = connection.createConsumer(
        { queue: name, queueOptions: { passive: true }, qos: { prefetchCount: PREFETCH } },
        async (message) => {
          handle(message.body as Buffer)
          settled(1)
        },
      )
      consumer.on('error', fail)
      consumers.push(consumer)
    },
    async close() {
      for (const consumer of consumers) await consumer.close()
      await publisher.close()
      await connection.queueDelete({ queue: name })
      await connection.close()
    },
  }
}

printCaseOutput(await measurePeer(args, open))
process.exit()
