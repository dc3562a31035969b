import { StateError } from '../../core/errors.ts'
import { query } from './client.ts'
import type { PostgresStoreClient } from './client.ts'

/** The part of a client of a `Pool` of `pg` that LISTEN needs. */
interface ListeningClient {
  query(sql: string): Promise<unknown>
  on(event: string, listener: (given: { readonly channel?: string; readonly payload?: string }) => void): unknown
  release(destroy: boolean): void
}

const SELF_TEST_MS = 3_000

/**
 * Listens on a connection of its own, and checks that something can be heard: a pooler that gives each transaction another
 * connection takes LISTEN, and passes nothing on.
 */
export async function listen(
  client: PostgresStoreClient,
  channel: string,
  wake: () => void,
  onEnd: (error: unknown) => void,
): Promise<() => Promise<void>> {
  const token = `test-${Math.random().toString(36).slice(2)}`
  const heard = Promise.withResolvers<boolean>()
  const onNotification = (payload: string): void => {
    if (payload === token) heard.resolve(true)
    else if (!payload.startsWith('test-')) wake()
  }
  const over = new AbortController()
  let isListening = false
  // Until it has resolved, whoever calls it hears of an end by the rejection alone.
  const onOver = (error: unknown): void => {
    if (isListening) {
      onEnd(error)
      return
    }
    over.abort(error)
    heard.resolve(false)
  }
  const stop = await open(client, channel, onNotification, onOver)
  const timer = setTimeout(heard.resolve, SELF_TEST_MS, false)
  try {
    await query(client, 'SELECT pg_notify($1, $2)', [channel, token])
    isListening = await heard.promise
    over.signal.throwIfAborted()
    if (isListening) return stop
  } catch (error) {
    await stop()
    throw error
  } finally {
    clearTimeout(timer)
  }
  await stop()
  throw new StateError(
    `LISTEN "${channel}" hears nothing: is there a pooler such as PgBouncer in between? Connect to the database itself, or use trigger: 'poll'`,
  )
}

async function open(
  client: PostgresStoreClient,
  channel: string,
  onNotification: (payload: string) => void,
  onEnd: (error: unknown) => void,
): Promise<() => Promise<void>> {
  if ('unsafe' in client) {
    const sql = client as unknown as {
      listen(name: string, call: (payload: string) => void): Promise<{ unlisten(): Promise<void> }>
    }
    // It connects again by itself.
    const subscription = await sql.listen(channel, onNotification)
    return () => subscription.unlisten()
  }
  const listener = await (client as unknown as { connect(): Promise<ListeningClient> }).connect()
  let isOpen = true
  const close = (): void => {
    if (!isOpen) return
    isOpen = false
    listener.release(true)
  }
  const end = (error: unknown): void => {
    if (!isOpen) return
    close()
    onEnd(error)
  }
  listener.on('error', end)
  listener.on('end', () => end(new StateError('The connection for LISTEN has ended')))
  listener.on('notification', ({ payload = '' }) => onNotification(payload))
  try {
    await listener.query(`LISTEN "${channel}"`)
  } catch (error) {
    close()
    throw error
  }
  return () => {
    close()
    return Promise.resolve()
  }
}
