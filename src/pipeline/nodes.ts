import type { MessageFilter } from '../core/where/compile-where.ts'
import { eachResult, noResult, oneResult } from './engine/batch-results.ts'
import type { PassOnBatch } from './engine/batch-results.ts'
import { BatchStage } from './engine/batch-stage.ts'
import { BranchStage, MergeStage } from './engine/branch-stage.ts'
import { CallStage } from './engine/call-stage.ts'
import type { ResolvedStageRetry } from './engine/call-stage.ts'
import type { Engine, Stage } from './engine/engine.ts'
import type { Item } from './engine/item.ts'
import { ended, filtered, flattened, mapped, tapped } from './engine/pass-on.ts'
import type { Fail, PassOn } from './engine/pass-on.ts'
import type { Batch, BatchTrigger, PipelineMessage } from './message.ts'
import type { FailTo, Node } from './graph.ts'

type Run = (data: unknown, message: PipelineMessage) => unknown

export interface ResolvedStageOptions {
  readonly concurrency: number
  readonly retry: ResolvedStageRetry | undefined
}

export interface ResolvedBatchOptions {
  readonly size: number
  readonly bytes: number
  readonly timeoutMs: number
  readonly maxOpenKeys: number
  readonly concurrency: number
  readonly until: ((data: unknown) => boolean) | undefined
  readonly key: ((data: unknown) => string) | undefined
}

const GATHERS_NOTHING = Object.freeze({ size: 0, concurrency: 0 })

type CallKind = 'map' | 'tap' | 'filter' | 'flatMap' | 'to'

function node(
  kind: string,
  name: string,
  make: Node['make'],
  more: Partial<Pick<Node, 'cases' | 'isEnd' | 'gathers'>> = {},
): Node {
  return {
    kind,
    name,
    next: undefined,
    caughtBy: undefined,
    cases: [],
    gathers: GATHERS_NOTHING,
    isEnd: false,
    ...more,
    make,
  }
}

/** A stage that calls a function for each item. */
export function callNode(kind: CallKind, name: string, run: Run, options: ResolvedStageOptions): Node {
  return node(
    kind,
    name,
    ({ engine }, next, failTo) =>
      new CallStage(engine, {
        ...options,
        name,
        run: (item) => run(item.data, item),
        passOn: passOnOf(kind, engine, next, name, failOf(engine, name, failTo)),
        failTo,
      }),
    { isEnd: kind === 'to' },
  )
}

function passOnOf(kind: CallKind, engine: Engine, next: Stage, name: string, fail: Fail): PassOn {
  switch (kind) {
    case 'map':
      return mapped(next)
    case 'tap':
      return tapped(next)
    case 'filter':
      return filtered(engine, next)
    case 'flatMap':
      return flattened(engine, next, name, fail)
    case 'to':
      return ended(engine)
  }
}

/** Ends what arrives. */
export function endNode(name: string): Node {
  return node('ack', name, ({ engine }) => ({ name, push: (item) => engine.end(item) }), { isEnd: true })
}

/** Passes on what arrives: the start of a case, or of a `catch`. */
export function passNode(kind: string, name: string): Node {
  return node(kind, name, (_host, next) => next)
}

/** Gives items another key. */
export function keyNode(name: string, key: (data: unknown) => string): Node {
  return node('key', name, ({ engine }, next, failTo) => ({
    name,
    push(item) {
      try {
        item.key = key(item.data)
      } catch (error) {
        failOf(engine, name, failTo)(item, error)
        return
      }
      next.push(item)
    },
  }))
}

/** Where the open cases of a branch come together. */
export function mergeNode(name: string): Node {
  return node('merge', name, (_host, next) => new MergeStage(name, next))
}

/** `merge`: where its open cases come together, if there are several. */
export function branchNode(
  name: string,
  cases: readonly {
    readonly name: string
    readonly test: ((item: Item) => boolean) | undefined
    readonly first: Node
  }[],
  match: 'first' | 'all',
  merge: Node | undefined,
): Node {
  const make: Node['make'] = (host, _next, failTo) =>
    new BranchStage(
      failOf(host.engine, name, failTo),
      name,
      cases.map((each) => ({ name: each.name, test: each.test, first: host.stage(each.first) })),
      match,
      merge === undefined ? undefined : (host.stage(merge) as MergeStage),
    )
  return node('branch', name, make, { cases })
}

/** A stage that gathers items. `results`: what it does with what the function returns. */
export function batchNode(
  name: string,
  results: 'each' | 'map' | 'to',
  run: (batch: Batch) => unknown,
  options: ResolvedBatchOptions,
): Node {
  const { key: keyOf, ...limits } = options
  return node(
    'batch',
    name,
    ({ engine }, next, failTo) => {
      const fail = failOf(engine, name, failTo)
      return new BatchStage(engine, {
        ...limits,
        name,
        keyOf,
        run: (items, key, trigger) => run(batchOf(items, key, trigger)),
        passOn: batchPassOnOf(results, engine, next, name, fail),
        failed: (items, error) => {
          for (const item of items)
            if (item.root.isDead) engine.end(item)
            else fail(item, error)
        },
      })
    },
    { isEnd: results === 'to', gathers: options },
  )
}

function batchPassOnOf(
  results: 'each' | 'map' | 'to',
  engine: Engine,
  next: Stage,
  name: string,
  fail: Fail,
): PassOnBatch {
  if (results === 'each') return eachResult(engine, next, name, fail)
  return results === 'map' ? oneResult(engine, next) : noResult(engine)
}

function batchOf(items: readonly Item[], key: string, trigger: BatchTrigger): Batch {
  return { items, data: items.map(({ data }) => data), key, trigger }
}

function failOf(engine: Engine, name: string, failTo: FailTo | undefined): Fail {
  return failTo ?? ((item, error) => engine.fail(item, error, name))
}

const NO_MESSAGE = Object.freeze({ type: undefined, key: undefined, subject: undefined, headers: Object.freeze({}) })

/** A test of items from a `where`. An element of an iterable has no attributes. */
export function testOf({ ofAttributes, ofData }: MessageFilter): (item: Item) => boolean {
  return (item) => {
    const message = (item.source?.encoded ?? NO_MESSAGE) as Parameters<NonNullable<MessageFilter['ofAttributes']>>[0]
    return (ofAttributes?.(message) ?? true) && (ofData?.(item.data, message) ?? true)
  }
}
