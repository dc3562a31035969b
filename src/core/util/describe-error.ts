const MAX_CAUSES = 4
const MAX_STACK_LENGTH = 8_000

/** An error for a log line. Leaves out its own properties, which may hold requests with secrets. */
export interface DescribedError {
  readonly name: string
  readonly message: string
  readonly code?: string | number
  readonly stack?: string
}

/** Never throws, even if the error has getters that throw. */
export function describeError(error: unknown): DescribedError {
  try {
    return read(error)
  } catch {
    return { name: 'Error', message: 'an error that can not be read' }
  }
}

function read(error: unknown): DescribedError {
  if (error === undefined || error === null) return describeMissing(error)
  if (typeof error !== 'object') return { name: typeof error, message: textOf(error) }
  const { name, message, code, stack } = error as Record<string, unknown>
  return {
    name: typeof name === 'string' ? name : 'Error',
    message: typeof message === 'string' ? message : 'an object that is not an error',
    ...((typeof code === 'string' || typeof code === 'number') && { code }),
    ...(typeof stack === 'string' && { stack: `${stack}${causesOf(error)}`.slice(0, MAX_STACK_LENGTH) }),
  }
}

/** For `Promise.reject()` and `throw null`. */
export function describeMissing(error: undefined | null): { readonly name: string; readonly message: string } {
  return { name: 'Error', message: `${error} was thrown, or a promise was rejected with it, instead of an error` }
}

/** A stack from Node does not include the causes. */
function causesOf(error: object): string {
  let text = ''
  let cause = (error as { readonly cause?: unknown }).cause
  for (let depth = 0; depth < MAX_CAUSES && cause !== undefined && cause !== null; depth++) {
    if (typeof cause !== 'object') return `${text}\nCaused by: ${textOf(cause)}`
    const { stack, message, cause: next } = cause as Record<string, unknown>
    const line = typeof stack === 'string' ? stack : message
    text += `\nCaused by: ${typeof line === 'string' ? line : 'an object that is not an error'}`
    cause = next
  }
  return text
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : String(value)
}
