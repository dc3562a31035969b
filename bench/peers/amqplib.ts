import { randomUUID } from 'node:crypto'
import { connect } from 'amqplib'
import type { Channel, ConsumeMessage, Options } from 'amqplib'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measurePeer } from '../harness/measure-peer.ts'
import type { PeerQueue } from '../harness/measure-peer.ts'
import { requiredUrl } from '../harness/required-url.ts'

// Confirm channel, persistent messages, durable queue. `--queue` is quorum or classic; `--ack-every=64` acks up to the 64th
// delivery in one frame; `--no-delay=false` leaves Nagle's algorithm on, which is the library's default. `--envelope=true`
// sends what Busbar sends: through a topic exchange, mandatory, with a compact envelope and a routing key of as many words, each of
// which costs RabbitMQ time; most of their price is the broker's.

const args = readCaseArguments()
const socketOptions = { noDelay: args.option('no-delay', 'true') === 'true' }
const ackEvery = args.number('ack-every', 1)
const PREFETCH = 1_000
/** What is left of a group of acks must not wait forever. */
const ACK_TIMER_MS = 5

interface Acker {
  readonly ack: (message: ConsumeMessage) => void
  readonly stop: () => void
}

function makeAcker(channel: Channel, settled: (count: number) => void): Acker {
  if (ackEvery === 1)
    return {
      ack(message) {
        channel.ack(message)
        settled(1)
      },
      stop() {},
    }
  let open: ConsumeMessage[] = []
  const flush = (): void => {
    const group = open
    const last = group.at(-1)
    if (last === undefined) return
    open = []
    channel.ack(last, true)
    settled(group.length)
  }
  const timer = setInterval(flush, ACK_TIMER_MS)
  return {
    ack(message) {
      if (open.push(message) >= ackEvery) flush()
    },
    stop() {
      clearInterval(timer)
      flush()
    },
  }
}

const EXCHANGE = 'bench-envelope'
const isJson = args.option('body', 'bytes') === 'json'

/** Properties of a message as a compact envelope has them. */
function envelope(): Options.Publish {
  return {
    persistent: true,
    mandatory: true,
    messageId: randomUUID(),
    appId: 'bench',
    contentType: isJson ? undefined : 'application/octet-stream',
    headers: { busbar: '1' },
  }
}

async function open(name: string): Promise<PeerQueue> {
  const url = requiredUrl('rabbitmq')
  const publishing = await connect(url, socketOptions)
  const consuming = await connect(url, socketOptions)
  const confirms = await publishing.createConfirmChannel()
  const channel = await consuming.createChannel()
  await confirms.assertQueue(name, {
    durable: true,
    arguments: { 'x-queue-type': args.option('queue', 'quorum') },
  })
  const hasEnvelope = args.option('envelope', 'false') === 'true'
  const topic = `bench.${name}.t1`
  if (hasEnvelope) {
    await confirms.assertExchange(EXCHANGE, 'topic', { durable: true })
    for (const key of [topic, `${topic}.*.*`]) await confirms.bindQueue(name, EXCHANGE, key)
  }
  let acker: Acker | undefined
  return {
    publish(body, confirmed) {
      const done = (error: unknown): void => {
        if (error !== null && error !== undefined) throw error
        confirmed()
      }
      if (hasEnvelope) confirms.publish(EXCHANGE, `${topic}.~1.1`, body, envelope(), done)
      else confirms.sendToQueue(name, body, { persistent: true }, done)
    },
    async consume(handle, settled) {
      acker = makeAcker(channel, settled)
      const { ack } = acker
      await channel.prefetch(PREFETCH)
      await channel.consume(name, (message) => {
        if (message === null) throw new Error('the consumer was cancelled')
        handle(message.content)
        ack(message)
      })
    },
    async close() {
      acker?.stop()
      await channel.close()
      await confirms.deleteQueue(name)
      await publishing.close()
      await consuming.close()
    },
  }
}

printCaseOutput(await measurePeer(args, open))
process.exit()
