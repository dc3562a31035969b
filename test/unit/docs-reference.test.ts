import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

it('has reference pages that say what the sources say', async () => {
  const tool = fileURLToPath(new URL('../../tools/docs-reference.ts', import.meta.url))
  const { stderr } = await promisify(execFile)(process.execPath, [tool, '--check'])
  expect(stderr).toBe('')
})
