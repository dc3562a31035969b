import { connect } from 'node:net'
import type { TestContext } from 'vitest'
import { BrokerError } from '../../tools/brokers/index.ts'
import { listProcesses } from '../../tools/brokers/process-list.ts'

/** Where a broker can't be had, its tests are skipped by name; in CI that is a failure. */
export async function skipIfMissing<T>(context: TestContext, starting: Promise<T>): Promise<T> {
  const started = await unlessMissing(starting)
  return started instanceof BrokerError ? context.skip(started.message) : started
}

/** The broker, or why this machine can't have it; in CI that is a failure. */
export async function unlessMissing<T>(starting: Promise<T>): Promise<T | BrokerError> {
  try {
    return await starting
  } catch (error) {
    if (error instanceof BrokerError && error.code === 'missing' && process.env['CI'] === undefined) return error
    throw error
  }
}

export function isRunning(pid: number): boolean {
  return listProcesses(pid).length > 0
}

export interface Address {
  readonly host: string
  readonly port: number
}

/** One inline command; resolves with the first line of the answer. */
export function redis(address: Address, command: string): Promise<string> {
  return ask(address, `${command}\r\n`)
}

/** Sends text, if any, and resolves with the first line that comes back. */
export function ask({ host, port }: Address, text: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const socket = connect({ host, port }, () => socket.write(text))
  let received = ''
  socket.on('error', reject)
  socket.on('close', () => reject(new Error(`closed after ${JSON.stringify(received)}`)))
  socket.on('data', (chunk: Buffer) => {
    received += chunk.toString('latin1')
    const end = received.indexOf('\r\n')
    if (end === -1) return
    resolve(received.slice(0, end))
    socket.destroy()
  })
  return promise
}
