/** True when two types are the same, and not only assignable to one another. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/**
 * `sameType<Expected>()(value)` compiles only when the value has that very type. The files beside this one are not run:
 * `npm run typecheck` is their test.
 */
export function sameType<Expected>(): <Actual>(
  value: Actual,
  ...differs: Same<Actual, Expected> extends true ? [] : [expected: Expected, but: never]
) => void {
  return () => {}
}
