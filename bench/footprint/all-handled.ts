/** Resolves when a number of messages has been handled. */
export function allHandled(count: number): { readonly all: Promise<void>; readonly one: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  let left = count
  if (left === 0) resolve()
  return {
    all: promise,
    one() {
      if (--left === 0) resolve()
    },
  }
}
