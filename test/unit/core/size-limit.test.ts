import { describe, expect, it } from 'vitest'
import { contentBytes, tooLarge } from '../../../src/core/publish/size-limit.ts'
import { encoded } from './stub-transport.ts'

describe('the size of a message', () => {
  it('is its body and the headers of the user, in bytes', () => {
    const body = Buffer.alloc(100)
    expect(contentBytes(encoded('1', { body }))).toBe(100)
    expect(contentBytes(encoded('1', { body, headers: { ab: 'žž', 'busbar-redrives': '1' } }))).toBe(106)
  })

  it.each([
    [{}, 100],
    [{ ab: 'cd' }, 96],
    [{ ab: 'ž' }, 96],
    [{ 'busbar-redrives': '1', 'busbar-dlq-stack': 'x'.repeat(5_000) }, 100],
  ])('with headers %j may have a body of %i bytes, and no more, below a limit of 100', (headers, bytes) => {
    const message = (length: number) => encoded('1', { topic: 't', headers, body: Buffer.alloc(length) })
    expect(tooLarge(message(bytes), 100, 'stub')).toBeUndefined()
    const error = tooLarge(message(bytes + 1), 100, 'stub')
    expect(error).toMatchObject({ outcome: 'not-sent', retryable: false })
    expect(error?.message).toContain('has 101 bytes, headers included; stub takes 100 (maxMessageBytes)')
  })

  it('is not limited for a dead letter, nor for a copy that goes back to one group', () => {
    const body = Buffer.alloc(101)
    expect(tooLarge(encoded('1', { body, headers: { 'busbar-dlq-reason': 'rejected' } }), 100, 'stub')).toBeUndefined()
    expect(tooLarge({ ...encoded('1', { body }), group: 'g' }, 100, 'stub')).toBeUndefined()
  })
})
