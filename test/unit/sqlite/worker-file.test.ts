import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ConnectionError, UnsupportedError } from 'busbar'
import { findWorkerFile, requireSqlite } from '../../../src/transports/sqlite/worker-file.ts'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'busbar-worker-file-'))
})

afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
})

/** What the call throws. */
function thrown(call: () => unknown): unknown {
  try {
    call()
  } catch (error) {
    return error
  }
  throw new Error('it did not throw')
}

describe('requireSqlite', () => {
  it.each(['20.20.2', '22.17.1', '18.0.0'])('refuses Node %s and says which one it takes', (version) => {
    const error = thrown(() => requireSqlite(version, true)) as UnsupportedError
    expect(UnsupportedError.is(error)).toBe(true)
    expect(error.retryable).toBe(false)
    expect(error.message).toBe(
      `The SQLite transport needs Node 22.18 or newer, and this is ${version}: update Node, or use another transport`,
    )
  })

  it.each(['22.18.0', '22.20.0', '23.0.0', '24.1.0'])('takes Node %s', (version) => {
    expect(() => requireSqlite(version, true)).not.toThrow()
  })

  it('takes what package.json asks for', () => {
    const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
    const { engines } = JSON.parse(text) as { engines: { node: string } }
    const [, major, minor] = /^>=(\d+)\.(\d+)$/.exec(engines.node) ?? []
    expect(() => requireSqlite(`${major}.${minor}.0`, true)).not.toThrow()
    expect(() => requireSqlite(`${major}.${Number(minor) - 1}.0`, true)).toThrow(`Node ${major}.${minor} or newer`)
  })

  it('refuses a runtime that has no node:sqlite', () => {
    expect(thrown(() => requireSqlite('24.0.0', false))).toMatchObject({
      code: 'BUSBAR_UNSUPPORTED',
      retryable: false,
      message: expect.stringContaining('does not have'),
    })
  })
})

describe('findWorkerFile', () => {
  it('finds the file beside its own', () => {
    expect(findWorkerFile()).toMatch(/src\/transports\/sqlite\/worker\.ts$/)
  })

  it.each(['js', 'mjs', 'cjs'])(
    'finds busbar-sqlite-worker.%s beside a bundle, wherever the bundler left a trace',
    (type) => {
      const worker = join(folder, `busbar-sqlite-worker.${type}`)
      writeFileSync(worker, '')
      const nowhere = { moduleUrl: undefined, commonJsFolder: undefined, mainFile: undefined }
      const moduleUrl = pathToFileURL(join(folder, 'app.js')).href
      expect(findWorkerFile({ ...nowhere, moduleUrl })).toBe(worker)
      expect(findWorkerFile({ ...nowhere, commonJsFolder: folder })).toBe(worker)
      expect(findWorkerFile({ ...nowhere, mainFile: join(folder, 'app.js') })).toBe(worker)
      // webpack writes the address that the module had on the machine where it was bundled.
      expect(
        findWorkerFile({ ...nowhere, moduleUrl: 'file:///build/transports/sqlite/worker-file.js', mainFile: worker }),
      ).toBe(worker)
    },
  )

  it('takes no worker.js of the user for its own', () => {
    writeFileSync(join(folder, 'worker.js'), '')
    const moduleUrl = pathToFileURL(join(folder, 'app.js')).href
    const error = thrown(() => findWorkerFile({ moduleUrl, commonJsFolder: undefined, mainFile: undefined }))
    expect(ConnectionError.is(error)).toBe(true)
    expect(error).toMatchObject({ retryable: false })
    expect(String(error)).toContain(`"busbar/sqlite/worker" another entry point`)
    expect(String(error)).toContain(`was looked for in ${folder}`)
  })

  it('says so when there is no file at all', () => {
    const nowhere = { moduleUrl: 'data:text/javascript,', commonJsFolder: undefined, mainFile: undefined }
    expect(String(thrown(() => findWorkerFile(nowhere)))).toContain('no folder')
  })
})
