import { join } from 'node:path'
import { goBuild } from '../../../tools/brokers/go.ts'
import type { KafkaBroker } from '../../../tools/brokers/index.ts'
import { ensurePeers } from '../ensure-peers.ts'
import { EVERY_GROUP } from './peer.ts'
import type { Action, Peer, PeerRecord, PeerSettings, Program } from './peer.ts'
import { pythonWithPackages } from './python.ts'

const FOLDER = import.meta.dirname

export const KAFKAJS: Peer = {
  name: 'KafkaJS',
  lacks: ['null headers'],
  groups: [{ protocol: 'classic', assignor: 'roundrobin' }],
  program: (...call) => wireProgram(nodeProgram('kafkajs.mjs'), ...call),
}

export const PLATFORMATIC: Peer = {
  name: '@platformatic/kafka',
  lacks: [],
  groups: [{ protocol: 'classic', assignor: 'roundrobin' }, { protocol: 'consumer' }],
  program: (...call) => wireProgram(nodeProgram('platformatic.mjs'), ...call),
}

export const LIBRDKAFKA: Peer = {
  name: 'confluent-kafka',
  lacks: [],
  groups: [
    { protocol: 'classic', assignor: 'cooperative-sticky' },
    { protocol: 'classic', assignor: 'range' },
    { protocol: 'classic', assignor: 'roundrobin' },
    { protocol: 'consumer' },
  ],
  program: (...call) => wireProgram(python('confluent.py'), ...call),
}

export const FRANZ: Peer = {
  name: 'franz-go',
  lacks: [],
  groups: EVERY_GROUP,
  program: (...call) => wireProgram(franz(), ...call),
}

async function nodeProgram(file: string): Promise<readonly string[]> {
  await ensurePeers()
  return [process.execPath, '--no-warnings', join(FOLDER, file)]
}

async function python(file: string): Promise<readonly string[]> {
  return [await pythonWithPackages(join(FOLDER, 'requirements.txt')), join(FOLDER, file)]
}

async function franz(): Promise<readonly string[]> {
  return [await goBuild('kafka', join(FOLDER, 'franz'), 'franz-peer')]
}

/** A program that reads and prints what wire.mjs describes. */
async function wireProgram(
  command: Promise<readonly string[]>,
  action: Action,
  settings: PeerSettings,
  { nodes }: KafkaBroker,
): Promise<Program> {
  const brokers = nodes.map(({ host, port }) => `${host}:${port}`)
  return {
    argv: [...(await command), action, JSON.stringify({ brokers, ...settings })],
    toLine: (record) => JSON.stringify(record),
    fromLine: (line) => JSON.parse(line) as PeerRecord,
    endsBy: 'end of input',
  }
}
