import { randomUUID } from 'node:crypto'
import { AckPolicy, jetstream, jetstreamManager, StorageType } from '@nats-io/jetstream'
import { connect, createInbox, headers } from '@nats-io/transport-node'
import type { MsgHdrs, NatsConnection } from '@nats-io/transport-node'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measurePeer } from '../harness/measure-peer.ts'
import type { PeerQueue } from '../harness/measure-peer.ts'
import { requiredUrl } from '../harness/required-url.ts'

// A file stream and a durable pull consumer. `--publish` is `default` (js.publish), `no-async-traces` (the same without the
// stack trace that each request prepares), or `shared-inbox`: core publishes that all answer to one inbox, which is no API of
// the library but shows how far a careful client can go. `--envelope=true` sends the headers that Busbar's compact envelope has:
// the server parses them, stores them, and remembers the id.

const args = readCaseArguments()
const publishing = args.option('publish', 'default')
const hasEnvelope = args.option('envelope', 'false') === 'true'
const isJson = args.option('body', 'bytes') === 'json'
const MAX_MESSAGES = 1_000

type Publish = PeerQueue['publish']

function fail(error: unknown): never {
  console.error(error)
  process.exit(1)
}

/** Headers of a message as a compact envelope has them. */
function envelope(subject: string): MsgHdrs {
  const all = headers()
  all.set('busbar', '1')
  all.set('ce-source', 'bench')
  if (!isJson) all.set('content-type', 'application/octet-stream')
  all.set('Nats-Msg-Id', `${randomUUID()}@${subject} bench`)
  return all
}

function throughLibrary(connection: NatsConnection, subject: string): Publish {
  const js = jetstream(connection)
  return (body, confirmed) => {
    js.publish(subject, body, hasEnvelope ? { headers: envelope(subject) } : {}).then(confirmed, fail)
  }
}

function throughOneInbox(connection: NatsConnection, subject: string): Publish {
  const inbox = createInbox()
  const open = new Map<string, () => void>()
  let next = 0
  connection.subscribe(`${inbox}.*`, {
    callback(error, message) {
      if (error !== null) fail(error)
      const confirmed = open.get(message.subject)
      if (confirmed === undefined || message.string().includes('"error"')) fail(new Error(message.string()))
      open.delete(message.subject)
      confirmed()
    },
  })
  return (body, confirmed) => {
    const reply = `${inbox}.${next++}`
    open.set(reply, confirmed)
    connection.publish(subject, body, hasEnvelope ? { reply, headers: envelope(subject) } : { reply })
  }
}

async function open(name: string): Promise<PeerQueue> {
  const connection = await connect({ servers: [requiredUrl('nats')], noAsyncTraces: publishing !== 'default' })
  const manager = await jetstreamManager(connection)
  const subject = `${name}.orders`
  await manager.streams.add({ name, subjects: [subject], storage: StorageType.File })
  await manager.consumers.add(name, { durable_name: 'bench', ack_policy: AckPolicy.Explicit, max_ack_pending: 10_000 })
  return {
    publish: (publishing === 'shared-inbox' ? throughOneInbox : throughLibrary)(connection, subject),
    async consume(handle, settled) {
      const consumer = await jetstream(connection).consumers.get(name, 'bench')
      await consumer.consume({
        max_messages: MAX_MESSAGES,
        callback(message) {
          handle(message.data)
          message.ack()
          settled(1)
        },
      })
    },
    async close() {
      await manager.streams.delete(name)
      await connection.close()
    },
  }
}

printCaseOutput(await measurePeer(args, open))
process.exit()
