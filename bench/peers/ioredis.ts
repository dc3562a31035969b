import { Redis } from 'ioredis'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measurePeer } from '../harness/measure-peer.ts'
import type { PeerQueue } from '../harness/measure-peer.ts'
import { requiredUrl } from '../harness/required-url.ts'

// One stream, one group. `--auto-pipeline=true` gathers the commands of a turn; `--ack` is batch (one XACK for what one read
// brought) or single (one for each message).

const args = readCaseArguments()
const READ_COUNT = 500
const BLOCK_MS = 1_000
const GROUP = 'bench'

type Entry = readonly [id: Buffer, fields: readonly Buffer[]]
/** RESP3, the client's default, answers with a map: flat here. */
type Reply = readonly [key: Buffer, entries: readonly Entry[]] | null

function fail(error: unknown): never {
  console.error(error)
  process.exit(1)
}

async function open(name: string): Promise<PeerQueue> {
  const url = requiredUrl('redis')
  const client = new Redis(url, { enableAutoPipelining: args.option('auto-pipeline', 'false') === 'true' })
  const blocking = new Redis(url)
  const single = args.option('ack', 'batch') === 'single'
  const state = { closed: false }
  const failUnlessClosed = (error: unknown): void => {
    if (!state.closed) fail(error)
  }
  await client.xgroup('CREATE', name, GROUP, '0', 'MKSTREAM')

  async function acknowledge(ids: readonly Buffer[], settled: (count: number) => void): Promise<void> {
    if (single) await Promise.all(ids.map((id) => client.xack(name, GROUP, id)))
    else await client.xack(name, GROUP, ...ids)
    settled(ids.length)
  }

  async function read(handle: (body: Uint8Array) => void, settled: (count: number) => void): Promise<void> {
    while (!state.closed) {
      const reply = (await blocking.callBuffer(
        'XREADGROUP',
        'GROUP',
        GROUP,
        'one',
        'COUNT',
        READ_COUNT,
        'BLOCK',
        BLOCK_MS,
        'STREAMS',
        name,
        '>',
      )) as Reply
      const entries = reply?.[1] ?? []
      if (entries.length === 0) continue
      for (const [, fields] of entries) handle(fields[1] as Buffer)
      acknowledge(
        entries.map(([id]) => id),
        settled,
      ).catch(failUnlessClosed)
    }
  }

  return {
    publish(body, confirmed) {
      client.xadd(name, '*', 'd', body).then(confirmed, fail)
    },
    async consume(handle, settled) {
      read(handle, settled).catch(failUnlessClosed)
    },
    async close() {
      state.closed = true
      blocking.disconnect()
      await client.del(name)
      client.disconnect()
    },
  }
}

printCaseOutput(await measurePeer(args, open))
process.exit()
