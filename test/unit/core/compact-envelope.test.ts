import { expect, it } from 'vitest'
import { ConfigurationError, createBus } from 'busbar'
import { memory } from 'busbar/memory'
import { OptionsReader, readEnvelopeForm } from 'busbar/transport'
import { waitUntil } from 'busbar/testing'

it('refuses a message of a later version by name, and keeps it as a dead letter that says so', async () => {
  const bus = createBus({ service: 'test', transport: memory(), logger: false })
  const seen: unknown[] = []
  bus.consume('orders', ({ data }) => void seen.push(data))
  await bus.start()
  const message = await bus.encode('orders', 1)
  // Another program may use that header for something else.
  const foreign = { ...message, id: 'b', headers: { busbar: 'is great' } }
  await bus.sendEncoded([{ ...message, id: 'a', headers: { busbar: '2c' } }, foreign])
  await waitUntil(() => seen.length === 1)
  const letters = bus.deadLetters('orders')
  await waitUntil(async () => (await letters.list()).length === 1)
  const [letter] = await letters.list()
  expect(letter).toMatchObject({ reason: 'undecodable', message: { id: 'a', headers: { busbar: '2c' } } })
  expect(letter?.errorMessage).toContain('was written with version 2 of the compact envelope')
  await bus.close()
})

it('is an option of transports', () => {
  expect(readEnvelopeForm(new OptionsReader('x', {}))).toBe('compact')
  expect(readEnvelopeForm(new OptionsReader('x', { envelope: 'cloudevents' }))).toBe('cloudevents')
  const reader = new OptionsReader('x', { envelope: 'json' })
  readEnvelopeForm(reader)
  expect(() => reader.done()).toThrow(ConfigurationError)
  expect(() => reader.done()).toThrow('envelope: must be one of "compact", "cloudevents", got "json"')
})
