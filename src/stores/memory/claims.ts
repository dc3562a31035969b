import type { ClaimStore } from '../../claim-check/store.ts'

/** A `ClaimStore` in this process, for tests. */
export interface MemoryClaimStore extends ClaimStore {
  /** What is stored, by name. A test may delete or change it. */
  readonly bodies: Map<string, Uint8Array>
}

/** Keeps the bodies of large messages in this process, without a limit: for tests, with the transport `memory()`. */
export function memoryClaimStore(): MemoryClaimStore {
  const bodies = new Map<string, Uint8Array>()
  return {
    bodies,
    put(name, body) {
      if (!bodies.has(name)) bodies.set(name, Uint8Array.from(body))
      return Promise.resolve()
    },
    get: (name) => Promise.resolve(bodies.get(name)),
  }
}
