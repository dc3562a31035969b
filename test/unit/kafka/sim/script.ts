import type { ApiName } from '../../../../src/kafka/protocol/generated/api-types.ts'

/** What happens to a request, in place of the usual. */
export type Fault =
  /** Read and forgotten: not carried out, never answered. */
  | { readonly do: 'drop' }
  /** Carried out, never answered. */
  | { readonly do: 'dropAnswer' }
  /** The connection ends; not carried out. */
  | { readonly do: 'close' }
  /** Carried out; the connection ends in place of the answer. */
  | { readonly do: 'closeAfter' }
  /** Carried out later. */
  | { readonly do: 'delay'; readonly ms: number }
  /** Carried out now, answered later. */
  | { readonly do: 'delayAnswer'; readonly ms: number }
  /** Not carried out; all error codes of the answer are this one. */
  | { readonly do: 'error'; readonly code: number }
  /** Carried out, and yet answered with an error. */
  | { readonly do: 'errorAfter'; readonly code: number }
  /** The answer comes in pieces of a few bytes. */
  | { readonly do: 'split' }
  /** The whole broker stops for so long, before it carries the request out. */
  | { readonly do: 'freeze'; readonly ms: number }
  /** Answered as usual; the client must not send anything for so long, and is not read meanwhile (KIP-219). */
  | { readonly do: 'throttle'; readonly ms: number }
  /** The answer is replaced by these bytes, whatever they are. */
  | { readonly do: 'bytes'; readonly bytes: (usual: Buffer) => Buffer }
  /** Carried out, then other code of the test runs, before the answer. */
  | { readonly do: 'run'; readonly run: () => void }

export interface RuleOptions {
  /** Of this broker's requests only. */
  readonly broker?: number
  /** So many requests from the nth on. @default 1 */
  readonly times?: number
}

interface Rule {
  readonly api: ApiName
  readonly from: number
  readonly to: number
  readonly broker: number | undefined
  readonly fault: Fault
  seen: number
}

/** Faults for certain requests: `on('Produce', 2, { do: 'dropAnswer' })`, counted from the moment that a rule is added. */
export class Script {
  readonly #rules: Rule[] = []

  on(api: ApiName, nth: number, fault: Fault, { broker, times = 1 }: RuleOptions = {}): void {
    this.#rules.push({ api, from: nth, to: nth + times - 1, broker, fault, seen: 0 })
  }

  /** From now on nothing goes wrong any more. */
  clear(): void {
    this.#rules.length = 0
  }

  /** The fault for the request that has come; the first rule that applies counts, and all of them count the request. */
  next(api: ApiName, broker: number): Fault | undefined {
    let fault: Fault | undefined
    for (const rule of this.#rules) {
      if (rule.api !== api || (rule.broker !== undefined && rule.broker !== broker)) continue
      rule.seen++
      if (rule.seen >= rule.from && rule.seen <= rule.to) fault ??= rule.fault
    }
    return fault
  }
}
