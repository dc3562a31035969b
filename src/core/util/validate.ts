import { ValidationError } from '../errors.ts'
import type { ValidationIssue } from '../errors.ts'
import type { StandardIssue, StandardResult, StandardSchema } from '../standard-schema.ts'

/**
 * Runs a Standard Schema. Returns its output, or a promise of it when the schema is asynchronous. Throws (or rejects with) a
 * `ValidationError` that lists every issue.
 */
export function validate<Output>(
  schema: StandardSchema<unknown, Output>,
  data: unknown,
  what: string,
): Output | Promise<Output> {
  const result = schema['~standard'].validate(data)
  return result instanceof Promise ? result.then((settled) => unwrap(settled, what)) : unwrap(result, what)
}

function unwrap<Output>(result: StandardResult<Output>, what: string): Output {
  if (result.issues === undefined) return result.value
  throw new ValidationError(`${what} does not fit its schema`, result.issues.map(toIssue))
}

function toIssue(issue: StandardIssue): ValidationIssue {
  const path = (issue.path ?? [])
    .map((segment) => String(typeof segment === 'object' ? segment.key : segment))
    .join('.')
  return { path, message: issue.message }
}
