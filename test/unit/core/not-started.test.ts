import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '../../..')

/** What a program with a bus and a consumer prints on stderr. */
async function stderrOf(program: string): Promise<string> {
  const code = `
    import { createBus } from 'busbar'
    import { memory } from 'busbar/memory'
    const make = (service) => createBus({ service, transport: memory() })
    const consumed = (service) => { const bus = make(service); bus.consume('t', () => {}); return bus }
    ${program}`
  const args = ['--conditions=busbar-source', '--input-type=module', '--eval', code]
  const { stderr } = await promisify(execFile)(process.execPath, args, { cwd: root, timeout: 20_000 })
  return stderr
}

describe('a program that ends without bus.start()', () => {
  it('says which buses have consumers and were never started, once', async () => {
    const stderr = await stderrOf(`consumed('billing'); consumed('billing'); consumed('shipping')`)
    expect(stderr.match(/BUSBAR_NOT_STARTED/g)).toHaveLength(1)
    expect(stderr).toContain(
      'The process ends, and these buses have consumers but were never started: "billing", "shipping". Did you forget await bus.start()?',
    )
  })

  it('says nothing about buses that were started, closed, or have no consumer', async () => {
    const program = `
      make('no-consumer')
      await consumed('closed').close()
      const bus = consumed('started')
      await bus.start()
      await bus.close()`
    expect(await stderrOf(program)).toBe('')
  })
})
