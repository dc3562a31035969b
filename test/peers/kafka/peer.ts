import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Codec } from '../../../src/kafka/records/batch-format.ts'
import { tail } from '../../../tools/brokers/exec.ts'
import type { KafkaBroker } from '../../../tools/brokers/index.ts'

/** A record as it is given to and taken from every peer: bytes in base64. */
export interface PeerRecord {
  /** Null: the peer's own partitioner decides. */
  readonly partition: number | null
  readonly key: string | null
  readonly value: string | null
  readonly headers: readonly (readonly [string, string | null])[]
  readonly timestamp: number
}

export interface PeerSettings {
  readonly topic: string
  readonly compression?: Codec
  readonly group?: string
  readonly protocol?: 'classic' | 'consumer'
  readonly assignor?: string
  /** Produces all records in one transaction, which ends so. */
  readonly transaction?: 'commit' | 'abort'
}

export interface PeerGroup {
  readonly protocol: 'classic' | 'consumer'
  readonly assignor?: string
}

/** All that this client can do, for peers that can do as much. */
export const EVERY_GROUP: readonly PeerGroup[] = [
  { protocol: 'classic', assignor: 'cooperative-sticky' },
  { protocol: 'classic', assignor: 'sticky' },
  { protocol: 'classic', assignor: 'range' },
  { protocol: 'classic', assignor: 'roundrobin' },
  { protocol: 'consumer' },
]

/** Another client of Kafka, as a program. */
export interface Peer {
  readonly name: string
  /**
   * What it can't express. `text only`: neither bytes nor null nor empty; `own partition`, `own timestamp`, `own headers`:
   * chosen by it, or the same for all records.
   */
  readonly lacks: readonly Lack[]
  /** Ways to be in a group with us: its assignor is one of ours. */
  readonly groups: readonly PeerGroup[]
  /** Installs or builds what is missing. */
  program(action: Action, settings: PeerSettings, broker: KafkaBroker): Promise<Program>
}

export type Action = 'produce' | 'consume'
export type Lack = 'transactions' | 'text only' | 'own partition' | 'own timestamp' | 'own headers' | 'null headers'

export interface Program {
  readonly argv: readonly string[]
  /** A record as a line of its input. */
  readonly toLine: (record: PeerRecord) => string
  /** A line of its output; undefined if it is not a record. */
  readonly fromLine: (line: string) => PeerRecord | undefined
  /** How it is asked to leave its group and end. */
  readonly endsBy: 'end of input' | 'SIGTERM'
}

/** Has the peer produce records; rejects with what it says if it fails. */
export async function produceBy(
  peer: Peer,
  broker: KafkaBroker,
  settings: PeerSettings,
  records: readonly PeerRecord[],
): Promise<void> {
  const program = await peer.program('produce', settings, broker)
  const { child, ended } = start(peer, program)
  child.stdin.end(records.map((record) => `${program.toLine(record)}\n`).join(''))
  child.stdout.resume()
  await ended
}

/** A peer that consumes until it is stopped. */
export interface ConsumingPeer {
  /** In the order of its output; grows. */
  readonly records: readonly PeerRecord[]
  /** Throws what has ended it, if anything. */
  check(): void
  /** Resolves when it has left its group and ended; rejects if it has failed. */
  stop(): Promise<void>
}

export async function consumeBy(
  peer: Peer,
  broker: KafkaBroker,
  settings: PeerSettings & { readonly group: string },
): Promise<ConsumingPeer> {
  const program = await peer.program('consume', settings, broker)
  const { child, ended } = start(peer, program)
  const records: PeerRecord[] = []
  let failure: unknown
  ended.catch((error: unknown) => (failure = error))
  const reading = (async () => {
    for await (const line of createInterface({ input: child.stdout })) {
      const record = program.fromLine(line)
      if (record !== undefined) records.push(record)
    }
  })()
  return {
    records,
    check: () => {
      if (failure !== undefined) throw failure
    },
    stop: async () => {
      if (program.endsBy === 'SIGTERM') child.kill('SIGTERM')
      else child.stdin.end()
      await Promise.all([ended, reading])
    },
  }
}

function start(peer: Peer, { argv: [file = '', ...args], endsBy }: Program) {
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  let errors = ''
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
  // A program that has ended takes no input; how it ended says why.
  child.stdin.on('error', () => {})
  const ended = once(child, 'close').then(([code, signal]) => {
    // Java ends with 128 + 15 when its hooks have run.
    const isAsked = endsBy === 'SIGTERM' && (signal === 'SIGTERM' || code === 143)
    if (code !== 0 && !isAsked)
      throw new Error(`${peer.name} ended with ${String(code ?? signal)}:\n${tail(errors, 30)}`)
  })
  ended.catch(() => {})
  return { child, ended }
}
