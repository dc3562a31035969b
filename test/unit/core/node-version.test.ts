import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { createBus, UnsupportedError } from 'busbar'
import { memory } from 'busbar/memory'
import { requireNode } from '../../../src/core/util/node-version.ts'

afterEach(() => {
  vi.unstubAllGlobals()
})

describe('the version of Node', () => {
  it.each(['20.20.2', '22.17.1', '18.0.0'])('%s is refused by createBus, which says what is needed', (version) => {
    vi.stubGlobal('process', Object.create(process, { versions: { value: { ...process.versions, node: version } } }))
    const make = (): unknown => createBus({ service: 'test', transport: memory() })
    expect(make).toThrow(UnsupportedError)
    expect(make).toThrow(`Busbar needs Node 22.18 or newer, and this is ${version}: update Node`)
  })

  it.each(['22.18.0', '22.20.0', '23.0.0', '24.1.0'])('%s is taken', (version) => {
    expect(() => requireNode(version)).not.toThrow()
  })

  it('is the one that package.json asks for', () => {
    const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
    const { engines } = JSON.parse(text) as { engines: { node: string } }
    const [, major, minor] = /^>=(\d+)\.(\d+)$/.exec(engines.node) ?? []
    expect(() => requireNode(`${major}.${minor}.0`)).not.toThrow()
    expect(() => requireNode(`${major}.${Number(minor) - 1}.0`)).toThrow(`Node ${major}.${minor} or newer`)
  })
})
