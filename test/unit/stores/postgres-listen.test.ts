import { describe, expect, it } from 'vitest'
import type { PostgresStoreClient } from '../../../src/stores/postgres/client.ts'
import { listen } from '../../../src/stores/postgres/listen.ts'

type Listener = (given: unknown) => void

/** A pool with what the test says of LISTEN and of notifications. */
class Pool {
  /** Clients that were not given back. */
  taken = 0
  onListen = async (): Promise<void> => undefined
  onNotify = async (_payload: string): Promise<void> => undefined
  readonly #listeners = new Map<string, Listener>()

  get client(): PostgresStoreClient {
    return this as unknown as PostgresStoreClient
  }

  async query(_sql: string, params: readonly string[]): Promise<{ rows: unknown[] }> {
    await this.onNotify(params[1] ?? '')
    return { rows: [] }
  }

  connect(): Promise<unknown> {
    this.taken++
    return Promise.resolve({
      on: (event: string, listener: Listener) => this.#listeners.set(event, listener),
      release: () => this.taken--,
      query: () => this.onListen(),
    })
  }

  emit(event: string, given?: unknown): void {
    this.#listeners.get(event)?.(given)
  }
}

describe('listen of PostgreSQL', () => {
  it('gives the client back when LISTEN is refused', async () => {
    const pool = new Pool()
    pool.onListen = () => Promise.reject(new Error('not on a standby'))
    for (let attempt = 0; attempt < 3; attempt++)
      await expect(
        listen(
          pool.client,
          'c',
          () => {},
          () => {},
        ),
      ).rejects.toThrow('not on a standby')
    expect(pool.taken).toBe(0)
  })

  it('rejects, and does not call onEnd, when the connection ends before it has heard itself', async () => {
    const pool = new Pool()
    pool.onNotify = async () => pool.emit('error', new Error('connection reset'))
    const ends: unknown[] = []
    await expect(
      listen(
        pool.client,
        'c',
        () => {},
        (error) => ends.push(error),
      ),
    ).rejects.toThrow('connection reset')
    expect(ends).toEqual([])
    expect(pool.taken).toBe(0)
  })

  it('calls onEnd once when the connection ends later', async () => {
    const pool = new Pool()
    pool.onNotify = async (payload) => pool.emit('notification', { payload })
    const ends: unknown[] = []
    const stop = await listen(
      pool.client,
      'c',
      () => {},
      (error) => ends.push(error),
    )
    pool.emit('error', new Error('connection reset'))
    pool.emit('end')
    expect(ends).toHaveLength(1)
    await stop()
    expect(pool.taken).toBe(0)
  })
})
