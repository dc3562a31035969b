import { describe, expect, it } from 'vitest'
import type { Commands } from '../../../src/transports/redis/connection/commands.ts'
import { LostReplyError, NotSentError } from '../../../src/transports/redis/errors.ts'
import { ReplicaWait } from '../../../src/transports/redis/publish/replica-wait.ts'

function setUp(answer: () => Promise<unknown>) {
  const connection = { losses: 0 }
  const asked: string[] = []
  const commands = {
    cluster: false,
    get losses() {
      return connection.losses
    },
    call(_key: string, args: readonly string[]) {
      asked.push(args.join(' '))
      return answer()
    },
  }
  const wait = new ReplicaWait(commands as unknown as Commands, { replicas: 1, timeoutMs: 200 })
  return { wait, asked, connection }
}

describe('the wait for replicas', () => {
  it('is asked for before the connection can bring anything, and once for a turn', async () => {
    const { wait, asked } = setUp(() => Promise.resolve(1))
    const before = new Promise<readonly string[]>((resolve) => {
      setImmediate(() => resolve([...asked]))
    })
    await Promise.all([wait.confirm('a'), wait.confirm('b')])
    expect(await before).toEqual(['WAIT 1 200'])
    expect(asked).toHaveLength(1)
  })

  it('confirms nothing when it was answered on another connection than that of the messages', async () => {
    const { wait, connection } = setUp(() => {
      connection.losses++
      return Promise.resolve(1)
    })
    await expect(wait.confirm('a')).rejects.toBeInstanceOf(LostReplyError)
    expect(wait.isBusy).toBe(false)
  })

  it('confirms what was stored while it was on its way with another one', async () => {
    const answers: PromiseWithResolvers<number>[] = []
    const { wait, asked } = setUp(() => {
      const answer = Promise.withResolvers<number>()
      answers.push(answer)
      return answer.promise
    })
    const first = wait.confirm('a')
    await new Promise((resolve) => setImmediate(resolve))
    const second = wait.confirm('a')
    await new Promise((resolve) => setImmediate(resolve))
    expect(asked).toHaveLength(1)
    answers[0]?.resolve(1)
    await first
    await new Promise((resolve) => setImmediate(resolve))
    expect(asked).toHaveLength(2)
    answers[1]?.resolve(0)
    await expect(second).rejects.toThrow('0 of 1 replicas confirmed')
    expect(wait.isBusy).toBe(false)
  })

  it('says nothing of what was stored before the connection was lost', async () => {
    const { wait, connection } = setUp(() => Promise.resolve(1))
    connection.losses = 1
    await expect(wait.confirm('a', 0)).rejects.toBeInstanceOf(LostReplyError)
    await expect(wait.confirm('a')).resolves.toBeUndefined()
  })

  it.each([
    ['was never sent', new NotSentError('The connection was closed before the command was sent')],
    ['is refused', new Error('NOPERM this user has no permissions to run the wait command')],
  ])('that %s says nothing about the messages, which are stored', async (_, error) => {
    const { wait } = setUp(() => Promise.reject(error))
    await expect(wait.confirm('a')).rejects.toBeInstanceOf(LostReplyError)
  })
})
