import { expect, it } from 'vitest'
import { silentLogger } from 'busbar'
import { manualClock } from 'busbar/testing'
import { BusEvents } from '../../../src/core/events.ts'
import { ConnectionState } from '../../../src/core/util/connection-state.ts'

function setUp() {
  const events = new BusEvents(silentLogger)
  const seen: unknown[] = []
  for (const name of ['connect', 'disconnect', 'reconnect'] as const)
    events.on(name, (event) => void seen.push({ [name]: { ...event, transport: undefined } }))
  const clock = manualClock()
  return { clock, seen, state: new ConnectionState({ name: 'main', clock, events }) }
}

it('reports each change once, and how long the connection was lost', async () => {
  const { clock, seen, state } = setUp()
  expect(state.isUp).toBe(false)
  state.up()
  state.up()
  expect(state.isUp).toBe(true)
  state.down('cut')
  state.down('cut again')
  expect(state.isUp).toBe(false)
  await clock.advance(300)
  state.up(4)
  state.close()
  state.close()
  expect(seen).toEqual([
    { connect: {} },
    { disconnect: { planned: false, reason: 'cut' } },
    { reconnect: { downMs: 300, attempts: 4 } },
    { disconnect: { planned: true, reason: 'closed' } },
  ])
})

it('says that at least one attempt was needed', () => {
  const { seen, state } = setUp()
  state.up()
  state.down('cut')
  state.up(0)
  expect(seen.at(-1)).toMatchObject({ reconnect: { attempts: 1 } })
})

it('says nothing of a connection that never was, or was lost before the close', () => {
  const { seen, state } = setUp()
  state.down('refused')
  expect(seen).toEqual([])
  state.up()
  state.down('cut')
  state.close()
  state.up()
  state.down('cut again')
  expect(seen).toEqual([{ connect: {} }, { disconnect: { planned: false, reason: 'cut' } }])
})
