// The program of the fault kit's child processes: started by child-process.ts, never imported.
import { openSync, writeSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import type { Bus } from '../core/bus-types.ts'
import { PublishError } from '../core/errors.ts'
import { silentLogger } from '../core/logger.ts'
import type { Transport } from '../core/transport.ts'
import { createBus } from '../index.ts'
import type {
  ChildCommand,
  ChildNotice,
  ChildProgram,
  ChildRecord,
  ChildRecorder,
  ChildTask,
} from './child-protocol.ts'

/** Handlers that run for longer than about 50 ms are noted at the broker; this leaves the broker time to store the note. */
const LASTING_MS = 500

interface TransportModule {
  readonly create: () => Transport | Promise<Transport>
}

function tell(notice: ChildNotice): void {
  process.send?.(notice)
}

async function main(): Promise<void> {
  const task = JSON.parse(process.argv[2] ?? '') as ChildTask
  // A plain write to a file in append mode is in the kernel's hands when it returns: SIGKILL can't undo it.
  const file = openSync(task.record, 'a')
  const record = (type: ChildRecord['type'], id: string, more: Partial<ChildRecord> = {}): void => {
    writeSync(file, `${JSON.stringify({ type, id, ...more, at: Date.now() })}\n`)
  }
  const { create } = (await import(task.module)) as TransportModule
  const bus = createBus({ service: task.service, transport: await create(), logger: silentLogger })
  let stopped = false
  const stop = (): void => {
    if (stopped) return
    stopped = true
    // After that nothing may keep the process alive: it is not ended by force, so that a leak shows.
    void bus.close().then(
      () => process.disconnect(),
      (error: unknown) => fail(error),
    )
  }
  process.on('message', (command: ChildCommand) => {
    if (command.type === 'stop') stop()
    else void bus.health().then((report) => tell({ type: 'health', report }), fail)
  })
  // The child must not outlive its parent.
  process.on('disconnect', () => {
    if (!stopped) process.exit(0)
  })
  if (task.role === 'consume') consume(bus, task, record)
  const started = task.role === 'program' ? await program(bus, task, record) : undefined
  await bus.start()
  tell({ type: 'ready' })
  if (task.role === 'publish') await publish(bus, task, record)
  await started?.()
}

async function program(
  bus: Bus,
  task: ChildTask & { role: 'program' },
  record: ChildRecorder,
): Promise<(() => Promise<void>) | undefined> {
  const { run } = (await import(task.program)) as { readonly run: ChildProgram<unknown> }
  return run(bus, record, task.argument)
}

function consume(bus: Bus, task: ChildTask & { role: 'consume' }, record: ChildRecorder): void {
  const { workMs = 0, hangUpTo = 0, failUpTo = 0, diesOf, retryDelayMs, publishTo } = task.handler
  bus.events.on('ack', ({ message, attempt }) => record('acked', message.id, { attempt }))
  bus.consume(
    task.topic,
    async (message, ctx) => {
      const { attempt } = ctx
      record('start', message.id, { key: message.key, attempt })
      if (message.data === diesOf) process.kill(process.pid, 'SIGKILL')
      if (attempt <= hangUpTo) {
        await wait(LASTING_MS)
        record('lasting', message.id, { key: message.key, attempt })
        await new Promise(() => undefined)
      }
      if (workMs > 0) await wait(workMs)
      if (attempt <= failUpTo) {
        record('failed', message.id, { key: message.key, attempt })
        if (retryDelayMs !== undefined) ctx.retry({ delayMs: retryDelayMs })
        throw new Error(`told to fail up to attempt ${failUpTo}`)
      }
      if (publishTo !== undefined) await ctx.publish(publishTo, message.data, { key: message.key })
      record('done', message.id, { key: message.key, attempt })
    },
    task.options,
  )
}

async function publish(bus: Bus, task: ChildTask & { role: 'publish' }, record: ChildRecorder): Promise<void> {
  let next = 0
  const one = async (): Promise<void> => {
    while (next < task.count) {
      const number = next++
      const id = `${task.service}-${number}`
      const key = task.keys > 0 ? `k${number % task.keys}` : undefined
      const ids = Array.from({ length: task.transaction?.size ?? 0 }, (_, part) => `${id}.${part}`)
      const all = task.transaction === undefined ? [id] : ids
      for (const each of all) record('sent', each, { key })
      try {
        if (task.transaction === undefined) await bus.publish(task.topic, { number }, { id, key })
        else await transact(bus, [task.topic, task.transaction.otherTopic], ids, { number }, key)
        for (const each of all) record('confirmed', each, { key })
      } catch (error) {
        const detail = error instanceof PublishError ? error.outcome : String(error)
        for (const each of all) record('failed', each, { key, detail })
      }
    }
  }
  await Promise.all(Array.from({ length: task.outstanding }, one))
}

/** Publishes to the topics in turn, all or none. */
async function transact(
  bus: Bus,
  topics: readonly [string, string],
  ids: readonly string[],
  data: unknown,
  key: string | undefined,
): Promise<void> {
  await bus.transaction(async (tx) => {
    for (const [part, id] of ids.entries()) await tx.publish(topics[part % 2] as string, data, { id, key })
  })
}

function fail(error: unknown): void {
  tell({ type: 'error', message: error instanceof Error ? (error.stack ?? error.message) : String(error) })
  process.exitCode = 1
  if (process.connected) process.disconnect()
}

main().catch(fail)
