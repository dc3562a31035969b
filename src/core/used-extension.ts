import type { Bus, BusExtension } from './bus-types.ts'
import { outsideHandlers, runClosing } from './causality.ts'
import { describeError } from './util/describe-error.ts'
import type { Problem } from './errors.ts'
import type { ExtensionHealth } from './health.ts'
import { describe } from './util/options-reader.ts'
import { plain } from './util/plain.ts'
import type { ExtensionSnapshot } from './snapshot.ts'

const METHODS = ['attach', 'start', 'drain', 'close', 'health', 'snapshot'] as const
const STATUSES: readonly unknown[] = ['ok', 'degraded', 'starting', 'failed', 'stalled', 'stopped']
/** Most characters that the snapshot of one extension may have as JSON. */
const MAX_SNAPSHOT_LENGTH = 16_384

/** What is wrong with a value that is to be an extension beside those with the names that are taken. */
export function extensionProblems(value: unknown, taken: ReadonlySet<unknown>): Problem[] {
  if (typeof value !== 'object' || value === null)
    return [{ path: '', message: `must be an extension, such as { name, start, close }, got ${describe(value)}` }]
  const given = value as Record<string, unknown>
  const { name } = given
  const problems: Problem[] = []
  if (typeof name !== 'string' || name === '')
    problems.push({ path: 'name', message: `must be a string that is not empty, got ${describe(name)}` })
  else if (taken.has(name))
    problems.push({ path: 'name', message: `"${name}" is the name of another extension of this bus` })
  for (const method of METHODS) {
    if (given[method] !== undefined && typeof given[method] !== 'function')
      problems.push({ path: method, message: `must be a function, got ${describe(given[method])}` })
  }
  return problems
}

/** An extension of a bus, and how far it has come. Its methods never throw: they reject, or report the error. */
export class UsedExtension {
  readonly name: string
  /** Written by `Extensions`. */
  state: 'idle' | 'starting' | 'started' | 'stopped' = 'idle'
  readonly #bus: Bus
  readonly #extension: BusExtension
  #draining: Promise<void> | undefined
  #closing: Promise<void> | undefined

  constructor(bus: Bus, extension: BusExtension) {
    this.name = extension.name
    this.#bus = bus
    this.#extension = extension
  }

  /** True from the call of its `start` until it is closed. */
  get isActive(): boolean {
    return this.state === 'starting' || this.state === 'started'
  }

  start(): Promise<void> {
    this.state = 'starting'
    return outsideHandlers(async () => this.#extension.start?.(this.#bus))
  }

  /** A second call returns the promise of the first. */
  drain(): Promise<void> {
    return (this.#draining ??= runClosing(this.#bus, () => this.#extension.drain?.()))
  }

  /** A second call returns the promise of the first. */
  close(options: { readonly deadlineMs: number }): Promise<void> {
    return (this.#closing ??= runClosing(this.#bus, () => this.#extension.close?.(options)))
  }

  /** Makes it ready for another start. */
  reset(): void {
    this.state = 'idle'
    this.#draining = undefined
    this.#closing = undefined
  }

  health(): ExtensionHealth {
    if (this.state === 'stopped') return { status: 'stopped' }
    if (this.state !== 'started') return { status: 'starting' }
    if (this.#extension.health === undefined) return { status: 'ok' }
    try {
      const given: unknown = this.#extension.health()
      if (given instanceof Promise) given.catch(() => {})
      const { status, detail } = (given ?? {}) as Partial<ExtensionHealth>
      if (status !== undefined && STATUSES.includes(status))
        return typeof detail === 'string' ? { status, detail } : { status }
      return { status: 'failed', detail: `health() must return { status: 'ok' } or the like, got ${describe(given)}` }
    } catch (error) {
      return { status: 'failed', detail: `health() threw: ${describeError(error).message}` }
    }
  }

  snapshot(): ExtensionSnapshot {
    const of = { name: this.name, ...this.health() }
    if (this.state !== 'started' || this.#extension.snapshot === undefined) return of
    try {
      const given = this.#extension.snapshot()
      if (given instanceof Promise) {
        given.catch(() => {})
        return { ...of, error: 'snapshot() must return at once, got a Promise' }
      }
      return { ...of, data: plain(given, MAX_SNAPSHOT_LENGTH) }
    } catch (error) {
      return { ...of, error: `snapshot() failed: ${describeError(error).message}` }
    }
  }
}
