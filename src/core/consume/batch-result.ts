/** True for what a batch handler returns for a message that succeeded. */
export function isSuccess(result: unknown): result is undefined | null | true {
  return result === undefined || result === null || result === true
}
