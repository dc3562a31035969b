import { messageOf, WrongTypeError } from '../errors.ts'
import type { Commands } from './commands.ts'

/** Reports which of a command's keys has the wrong type, and what it holds. */
export async function explainWrongType(
  commands: Commands,
  keys: readonly string[],
  error: unknown,
): Promise<WrongTypeError> {
  const problems: { path: string; message: string }[] = []
  for (const key of new Set(keys)) {
    const type = String(await commands.call(key, ['TYPE', key]))
    const expected = typeOf(key)
    if (type !== 'none' && type !== expected)
      problems.push({
        path: key,
        message: `must be a ${expected} and is a ${type}: delete or rename it, or use another prefix`,
      })
  }
  // It has been fixed meanwhile.
  if (problems.length === 0) problems.push({ path: keys.join(', '), message: messageOf(error) })
  const explained = new WrongTypeError('A key in Redis', problems)
  explained.cause = error
  return explained
}

/** What Busbar stores in a key of that name. */
function typeOf(key: string): string {
  const rest = key.slice(key.indexOf('}') + 1)
  if (/:(group|assignment|notes):|:notes$/.test(rest)) return 'hash'
  if (/:later:|:later$|:delayed(:|$)/.test(rest)) return 'zset'
  if (rest.endsWith(':sequence')) return 'string'
  if (!key.includes('{')) return key.endsWith('topics') ? 'hash' : key.endsWith('notices') ? 'stream' : 'zset'
  return 'stream'
}
