import { expect, it } from 'vitest'
import { Waits } from '../../../src/kafka/cluster/waits.ts'
import { systemClock } from '../../../src/kafka/network/clock.ts'

it('says in whole milliseconds what took too long: what is left of a deadline has fractions', async () => {
  const waits = new Waits(systemClock)
  const late = waits.within(new Promise<never>(() => {}), 'list groups', { timeoutMs: 4.999_985 })
  await expect(late).rejects.toMatchObject({ code: 'WAIT_TIMEOUT', message: 'list groups took longer than 5 ms' })
})
