import { createClient, RESP_TYPES } from 'redis'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measurePeer } from '../harness/measure-peer.ts'
import type { PeerQueue } from '../harness/measure-peer.ts'
import { requiredUrl } from '../harness/required-url.ts'

// One stream, one group, one XACK for what one read brought. `--command-timeout=none` takes away the default timeout of each
// command, which costs an AbortSignal a command.

const args = readCaseArguments()
const READ_COUNT = 500
const BLOCK_MS = 1_000
const GROUP = 'bench'

function fail(error: unknown): never {
  console.error(error)
  process.exit(1)
}

function makeClient() {
  const tuned = args.option('command-timeout', 'default') === 'none'
  const client = createClient({
    url: requiredUrl('redis'),
    ...(tuned ? { commandOptions: { timeout: undefined } } : {}),
  })
  client.on('error', fail)
  return client
}

async function open(name: string): Promise<PeerQueue> {
  const client = makeClient()
  const blocking = makeClient()
  await client.connect()
  await blocking.connect()
  const reader = blocking.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer })
  const state = { closed: false }
  const failUnlessClosed = (error: unknown): void => {
    if (!state.closed) fail(error)
  }
  await client.xGroupCreate(name, GROUP, '0', { MKSTREAM: true })

  async function read(handle: (body: Uint8Array) => void, settled: (count: number) => void): Promise<void> {
    while (!state.closed) {
      const reply = (await reader.xReadGroup(
        GROUP,
        'one',
        { key: name, id: '>' },
        { COUNT: READ_COUNT, BLOCK: BLOCK_MS },
      )) as readonly { messages: readonly { id: Buffer; message: { d: Buffer } }[] }[] | null
      const messages = reply?.[0]?.messages ?? []
      if (messages.length === 0) continue
      for (const { message } of messages) handle(message.d)
      client
        .xAck(
          name,
          GROUP,
          messages.map(({ id }) => id),
        )
        .then(() => settled(messages.length), failUnlessClosed)
    }
  }

  return {
    publish(body, confirmed) {
      client.xAdd(name, '*', { d: body }).then(confirmed, fail)
    },
    async consume(handle, settled) {
      read(handle, settled).catch(failUnlessClosed)
    },
    async close() {
      state.closed = true
      blocking.destroy()
      await client.del(name)
      client.destroy()
    },
  }
}

printCaseOutput(await measurePeer(args, open))
process.exit()
