export interface ModelSpan {
  readonly topic: string
  readonly partition: number
  readonly member: { readonly name: string; readonly memberId: string; readonly isRunning: boolean }
}

/** What must hold at every moment, whoever crashes: collects what did not. */
export class Checks {
  readonly violations: string[] = []
  readonly handled: Map<string, Set<number>> = new Map()
  readonly #holders = new Map<string, ModelSpan>()
  readonly #contiguous = new Map<string, number>()
  repeated = 0

  static key(this: void, { topic, partition }: { readonly topic: string; readonly partition: number }): string {
    return `${topic}/${partition}`
  }

  violated(what: string): void {
    if (this.violations.length < 20) this.violations.push(what)
  }

  /** K8. A frozen process holds nothing: it finds out before it works again. */
  begins(span: ModelSpan): void {
    const key = Checks.key(span)
    const holder = this.#holders.get(key)
    if (holder !== undefined && holder.member !== span.member && holder.member.isRunning) {
      this.violated(`K8: ${span.member.name} gets ${key} while ${holder.member.name} holds it`)
    }
    this.#holders.set(key, span)
  }

  ends(span: ModelSpan): void {
    const key = Checks.key(span)
    if (this.#holders.get(key) === span) this.#holders.delete(key)
  }

  /** K7. */
  works(span: ModelSpan): void {
    const key = Checks.key(span)
    if (this.#holders.get(key) !== span) this.violated(`K7: ${span.member.name} works on ${key} which it has no more`)
  }

  finished(span: ModelSpan, offset: number): void {
    const key = Checks.key(span)
    const handled = this.handled.get(key) ?? new Set()
    this.handled.set(key, handled)
    if (handled.has(offset)) this.repeated++
    handled.add(offset)
    let next = this.contiguous(key)
    while (handled.has(next)) next++
    this.#contiguous.set(key, next)
  }

  /** K6, and that only the holder's commits count. */
  committed(memberId: string, topic: string, partition: number, offset: number): void {
    const key = `${topic}/${partition}`
    if (offset > this.contiguous(key))
      this.violated(`K6: ${offset} of ${key} committed, ${this.contiguous(key)} is not done`)
    const holder = this.#holders.get(key)
    if (holder !== undefined && holder.member.isRunning && holder.member.memberId !== memberId) {
      this.violated(`K7: ${memberId} commits ${key}, which ${holder.member.memberId} holds`)
    }
  }

  /** The first offset that was never handled. */
  contiguous(key: string): number {
    return this.#contiguous.get(key) ?? 0
  }
}
