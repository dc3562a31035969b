import { isPromiseLike } from './is-promise-like.ts'

/**
 * Calls a user's callback whose failure must not affect a message: it becomes a process warning with the code
 * `BUSBAR_CALLBACK`.
 */
export function notify(name: string, call: () => unknown): void {
  try {
    const result = call()
    // The type asks for a callback that returns nothing, but also accepts an async one.
    if (isPromiseLike(result)) result.then(undefined, (error: unknown) => warn(name, error))
  } catch (error) {
    warn(name, error)
  }
}

function warn(name: string, error: unknown): void {
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error)
  process.emitWarning(`${name} threw; messages are not affected`, { code: 'BUSBAR_CALLBACK', detail })
}
