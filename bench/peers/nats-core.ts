import { connect } from '@nats-io/transport-node'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measurePeer } from '../harness/measure-peer.ts'
import type { PeerQueue } from '../harness/measure-peer.ts'
import { requiredUrl } from '../harness/required-url.ts'

// Core publish and a subscription with a callback. Nobody confirms: a flush each 4,096 messages keeps the client honest.

const args = readCaseArguments()
const FLUSH_EVERY = 4_096

function fail(error: unknown): never {
  console.error(error)
  process.exit(1)
}

async function open(name: string): Promise<PeerQueue> {
  const connection = await connect({ servers: [requiredUrl('nats')] })
  const waiting: (() => void)[] = []
  const latency = args.option('mode', 'e2e') === 'latency'

  function confirmAll(): void {
    const confirms = waiting.splice(0)
    connection.flush().then(() => {
      for (const confirm of confirms) confirm()
    }, fail)
  }

  return {
    publish(body, confirmed) {
      connection.publish(name, body)
      if (latency) return
      if (waiting.length === 0) setImmediate(confirmAll)
      if (waiting.push(confirmed) >= FLUSH_EVERY) confirmAll()
    },
    async consume(handle, settled) {
      connection.subscribe(name, {
        queue: 'bench',
        callback(error, message) {
          if (error !== null) fail(error)
          handle(message.data)
          settled(1)
        },
      })
      await connection.flush()
    },
    async close() {
      await connection.close()
    },
  }
}

printCaseOutput(await measurePeer(args, open))
process.exit()
