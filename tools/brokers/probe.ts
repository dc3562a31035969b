import { connect as connectTcp } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { BrokerName } from './types.ts'

export interface ProbeTarget {
  readonly host: string
  readonly port: number
  readonly tls?: boolean
}

/** What to send after connecting, and how to judge what has come so far: undefined means "wait for more". */
interface Conversation {
  readonly hello: Buffer | undefined
  judge(received: Buffer): boolean | undefined
}

/** True when a broker of this kind answers in its own protocol: an open port alone proves nothing. */
export function probe(name: BrokerName, target: ProbeTarget, timeoutMs = 2_000): Promise<boolean> {
  return converse(target, CONVERSATIONS[name], timeoutMs)
}

/** True when something listens there: enough for a helper that speaks no broker protocol. */
export function accepts(target: ProbeTarget, timeoutMs = 2_000): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = open(target)
  const finish = (accepted: boolean): void => {
    clearTimeout(timer)
    socket.destroy()
    resolve(accepted)
  }
  const timer = setTimeout(() => finish(false), timeoutMs)
  socket.on('error', () => finish(false))
  socket.once('connect', () => finish(true))
  return promise
}

/**
 * True when a Kafka node knows at least this many living brokers, including itself: it answers ApiVersions before the
 * controller has admitted it to the cluster. `advertisedPort` is its own advertised port.
 */
export function probeKafkaMembers(
  target: ProbeTarget,
  members: number,
  advertisedPort: number = target.port,
  timeoutMs = 2_000,
): Promise<boolean> {
  // Metadata v1 of no topic.
  const hello = kafkaRequest(3, 1, Buffer.from([0, 0, 0, 0]))
  const judge = (received: Buffer): boolean | undefined => {
    if (received.length < 4 || received.length < 4 + received.readInt32BE(0)) return undefined
    const ports = advertisedPorts(received)
    return ports.length >= members && ports.includes(advertisedPort)
  }
  return converse(target, { hello, judge }, timeoutMs)
}

/** The array of brokers after size and correlation id: id, host, port, rack (null is length -1). */
function advertisedPorts(response: Buffer): readonly number[] {
  const ports: number[] = []
  let at = 12
  for (let left = response.readInt32BE(8); left > 0; left--) {
    at += 4
    at += 2 + response.readInt16BE(at)
    ports.push(response.readInt32BE(at))
    at += 4
    at += 2 + Math.max(0, response.readInt16BE(at))
  }
  return ports
}

function converse(target: ProbeTarget, conversation: Conversation, timeoutMs: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = open(target)
  let received: Buffer = Buffer.alloc(0)
  const finish = (healthy: boolean): void => {
    clearTimeout(timer)
    socket.destroy()
    resolve(healthy)
  }
  const timer = setTimeout(() => finish(false), timeoutMs)
  socket.on('error', () => finish(false))
  socket.on('close', () => finish(false))
  socket.once(target.tls === true ? 'secureConnect' : 'connect', () => {
    if (conversation.hello !== undefined) socket.write(conversation.hello)
  })
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk])
    const verdict = conversation.judge(received)
    if (verdict !== undefined) finish(verdict)
  })
  return promise
}

function open({ host, port, tls }: ProbeTarget): Socket {
  // A probe checks that the broker lives, not who it is: test brokers have self-made certificates.
  return tls === true ? connectTls({ host, port, rejectUnauthorized: false }) : connectTcp({ host, port })
}

function kafkaRequest(apiKey: number, version: number, body: Buffer): Buffer {
  const client = Buffer.from('busbar-probe')
  const request = Buffer.alloc(14)
  request.writeInt32BE(10 + client.length + body.length, 0)
  request.writeInt16BE(apiKey, 4)
  request.writeInt16BE(version, 6)
  request.writeInt32BE(1, 8)
  request.writeInt16BE(client.length, 12)
  return Buffer.concat([request, client, body])
}

function postgresStartup(): Buffer {
  const body = Buffer.from('user\0postgres\0database\0postgres\0\0')
  const head = Buffer.alloc(8)
  head.writeInt32BE(8 + body.length, 0)
  head.writeInt32BE(196_608, 4)
  return Buffer.concat([head, body])
}

const CONVERSATIONS: Readonly<Record<BrokerName, Conversation>> = {
  redis: {
    hello: Buffer.from('PING\r\n'),
    // NOAUTH comes from a healthy server with a password; LOADING from one that is not ready.
    judge: (received) => {
      if (!received.includes('\r\n')) return undefined
      const line = received.toString('latin1')
      return line.startsWith('+PONG') || line.startsWith('-NOAUTH')
    },
  },
  nats: {
    hello: undefined,
    judge: (received) => (received.includes('\r\n') ? received.toString('latin1').startsWith('INFO {') : undefined),
  },
  rabbitmq: {
    hello: Buffer.from('AMQP\0\0\x09\x01', 'latin1'),
    // A method frame on channel 0 that contains connection.start (class 10, method 10).
    judge: (received) =>
      received.length < 11
        ? undefined
        : received[0] === 1 && received.readUInt16BE(7) === 10 && received.readUInt16BE(9) === 10,
  },
  postgres: {
    hello: postgresStartup(),
    // 'R': authentication begins. 'E' with 57P03: starting up, in recovery or shutting down.
    judge: (received) => {
      if (received[0] === 0x52) return true
      if (received[0] !== 0x45) return false
      return received.length < 5 || received.length < 1 + received.readInt32BE(1)
        ? undefined
        : !received.includes('57P03')
    },
  },
  kafka: {
    // ApiVersions v0, which every broker since 0.10 answers.
    hello: kafkaRequest(18, 0, Buffer.alloc(0)),
    judge: (received) =>
      received.length < 10 ? undefined : received.readInt32BE(4) === 1 && received.readInt16BE(8) === 0,
  },
}
