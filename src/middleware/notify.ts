import { isPromiseLike } from './observe.ts'

/**
 * Calls a user's callback whose own failure must not change the fate of a message: it becomes a process warning with the
 * code `BUSBAR_CALLBACK` instead.
 */
export function notify(name: string, call: () => unknown): void {
  try {
    const result = call()
    // Types ask for a callback that returns nothing, but an async one fits them too.
    if (isPromiseLike(result)) result.then(undefined, (error: unknown) => warn(name, error))
  } catch (error) {
    warn(name, error)
  }
}

function warn(name: string, error: unknown): void {
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error)
  process.emitWarning(`${name} threw; messages are not affected`, { code: 'BUSBAR_CALLBACK', detail })
}
