import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ConnectionError } from 'busbar'
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
  it('refuses a runtime that has no node:sqlite', () => {
    expect(thrown(() => requireSqlite(false))).toMatchObject({
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
