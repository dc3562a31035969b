import { fork } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { HealthReport } from '../core/health.ts'
import { StateError } from '../core/errors.ts'
import { RecordReader } from './child-protocol.ts'
import type {
  ChildCommand,
  ChildHandler,
  ChildNotice,
  ChildRecord,
  ChildTask,
  ChildTransaction,
  PlainConsumeOptions,
} from './child-protocol.ts'
import type { Random } from './random.ts'
import { uniqueName } from './unique-name.ts'
import { waitUntil } from './wait-until.ts'
import type { WaitOptions } from './wait-until.ts'

/** Options of every child process. */
export interface ChildOptions {
  /** URL of a module that exports `create()`, which makes a transport to the test's broker. */
  readonly module: string | URL
  readonly topic: string
  /** Name of the child's bus. Default: a unique one. */
  readonly service?: string | undefined
  /** Added to the environment of this process. */
  readonly env?: Readonly<Record<string, string>> | undefined
  /** Default: the conditions (`--conditions=…`) that this process runs with. */
  readonly execArgv?: readonly string[] | undefined
  /** Maximum duration of the child's start, in ms. Default 20,000. */
  readonly startTimeoutMs?: number | undefined
}

/** Options of `childConsumer`. */
export interface ChildConsumerOptions extends ChildOptions {
  readonly options?: PlainConsumeOptions | undefined
  readonly handler?: ChildHandler | undefined
}

/** Options of `childPublisher`. */
export interface ChildPublisherOptions extends ChildOptions {
  /** Number of messages, or of transactions; the ids of messages are `<service>-0`, `<service>-1` ... */
  readonly count: number
  /** Number of keys to spread them over. Default 0: no key. */
  readonly keys?: number | undefined
  /** Number of concurrent publishes. Default 16. */
  readonly outstanding?: number | undefined
  /** Publishes in transactions; the ids of the messages of one are `<service>-0.0`, `<service>-0.1` ... */
  readonly transaction?: ChildTransaction | undefined
}

/** Options of `childProgram`. */
export interface ChildProgramOptions extends Omit<ChildOptions, 'topic'> {
  /** URL of a module that exports `run`, a `ChildProgram`: what the process does with its bus. */
  readonly program: string | URL
  /** Argument for `run`; passed as JSON. */
  readonly argument?: unknown
}

/** How a child process ended. */
export interface ChildExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A child process that a test may kill or freeze. What it did to each message stays on record, whatever happens to it. */
export interface Child extends AsyncDisposable {
  readonly pid: number
  readonly service: string
  /** All records so far. */
  records(): readonly ChildRecord[]
  /** Ids of the records of that type, in order, repeats included. */
  ids(type: ChildRecord['type']): string[]
  /** Resolves when there are `count` records of that type. */
  waitFor(type: ChildRecord['type'], count: number, options?: Pick<WaitOptions, 'timeoutMs'>): Promise<void>
  /** Kills the process immediately (SIGKILL). Resolves when it has ended. */
  kill(): Promise<void>
  /** Kills the process at a random time, at most `maxMs` from now. */
  killAtRandom(random: Random, maxMs: number): Promise<void>
  /** Stops the process (SIGSTOP) like a machine that swaps or a debugger, with all sockets open. */
  freeze(): void
  /** Continues a frozen process (SIGCONT). */
  thaw(): void
  /** The child's `bus.health()`. Rejects when the process does not answer within 10 s. */
  health(): Promise<HealthReport>
  /**
   * Closes the child's bus and waits for the process to end by itself. Rejects when it does not within the time
   * (default 10,000 ms).
   */
  stop(options?: { readonly timeoutMs?: number }): Promise<ChildExit>
  readonly exited: Promise<ChildExit>
}

/** Starts a consumer in a separate process. Resolves when it is subscribed. */
export function childConsumer(options: ChildConsumerOptions): Promise<Child> {
  const { options: consumeOptions = {}, handler = {} } = options
  return start(options, (base) => ({ ...base, role: 'consume', options: consumeOptions, handler }))
}

/** Starts a publisher in a separate process. Resolves when it is about to publish. */
export function childPublisher(options: ChildPublisherOptions): Promise<Child> {
  const { count, keys = 0, outstanding = 16, transaction } = options
  return start(options, (base) => ({ ...base, role: 'publish', count, keys, outstanding, transaction }))
}

/** Starts a separate process that runs a module of yours. Resolves when its bus has started. */
export function childProgram(options: ChildProgramOptions): Promise<Child> {
  const { program, argument } = options
  return start({ ...options, topic: '' }, (base) => ({ ...base, role: 'program', program: String(program), argument }))
}

async function start(
  options: ChildOptions,
  taskOf: (base: Pick<ChildTask, 'module' | 'record' | 'service' | 'topic'>) => ChildTask,
): Promise<Child> {
  const service = options.service ?? uniqueName('child')
  const folder = mkdtempSync(join(tmpdir(), 'busbar-child-'))
  const file = join(folder, 'records')
  writeFileSync(file, '')
  const task = taskOf({ module: String(options.module), record: file, service, topic: options.topic })
  // The program is next to this file, as source or compiled.
  const program = new URL(import.meta.url.endsWith('.ts') ? './child-main.ts' : './child-main.js', import.meta.url)
  const child = fork(program, [JSON.stringify(task)], {
    execArgv: [...(options.execArgv ?? inheritedConditions())],
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })

  let complaint = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-4_000)
  })
  let ready = false
  let health: HealthReport | undefined
  child.on('message', (notice: ChildNotice) => {
    if (notice.type === 'ready') ready = true
    else if (notice.type === 'health') health = notice.report
    else complaint += notice.message
  })
  let exit: ChildExit | undefined
  const exited = new Promise<ChildExit>((resolve) => {
    child.once('error', (error) => {
      complaint += error.message
      exit ??= { code: null, signal: null }
      resolve(exit)
    })
    child.once('exit', (code, signal) => {
      exit ??= { code, signal }
      resolve(exit)
    })
  })

  const reader = new RecordReader(file)
  const held: ChildRecord[] = []
  let discarded = false
  const records = (): readonly ChildRecord[] => {
    if (!discarded) for (const record of reader.read()) held.push(record)
    return held
  }
  const ids = (type: ChildRecord['type']): string[] =>
    records()
      .filter((record) => record.type === type)
      .map((record) => record.id)

  const kill = async (): Promise<void> => {
    if (exit === undefined) child.kill('SIGKILL')
    await exited
  }
  const dispose = async (): Promise<void> => {
    await kill()
    records()
    discarded = true
    rmSync(folder, { recursive: true, force: true })
  }

  try {
    await waitUntil(() => ready || exit !== undefined, {
      timeoutMs: options.startTimeoutMs ?? 20_000,
      describe: () => `the child process ${child.pid} is not ready; it says: ${complaint}`,
    })
    if (!ready) throw new StateError(`The child process ended before it was ready (${shown(exit)}): ${complaint}`)
  } catch (error) {
    await dispose()
    throw error
  }

  return {
    pid: child.pid ?? -1,
    service,
    records,
    ids,
    async waitFor(type, count, wait) {
      await waitUntil(
        () => {
          const reached = ids(type).length >= count
          if (!reached && exit !== undefined)
            throw new StateError(`The child process ended (${shown(exit)}) too early: ${complaint}`)
          return reached
        },
        { ...wait, describe: () => `${ids(type).length} of ${count} "${type}" on record; stderr: ${complaint}` },
      )
    },
    kill,
    async killAtRandom(random, maxMs) {
      // Does not synchronize with anything: the random time itself is the fault.
      const delayMs = random.next() * maxMs
      await new Promise<void>((resolve) => {
        setTimeout(resolve, delayMs)
      })
      await kill()
    },
    freeze: () => void child.kill('SIGSTOP'),
    thaw: () => void child.kill('SIGCONT'),
    async health() {
      health = undefined
      if (exit === undefined && child.connected) child.send({ type: 'health' } satisfies ChildCommand)
      return waitUntil(() => health, {
        timeoutMs: 10_000,
        describe: () => `the child process ${child.pid} does not say how it is: ${complaint}`,
      })
    },
    async stop(stopOptions = {}) {
      if (exit === undefined && child.connected) child.send({ type: 'stop' } satisfies ChildCommand)
      await waitUntil(() => exit !== undefined, {
        timeoutMs: stopOptions.timeoutMs ?? 10_000,
        describe: () => `the child process ${child.pid} was told to stop and still runs: ${complaint}`,
      })
      return exited
    },
    exited,
    [Symbol.asyncDispose]: dispose,
  }
}

function inheritedConditions(): readonly string[] {
  const found: string[] = []
  for (const [index, argument] of process.execArgv.entries()) {
    if (argument.startsWith('--conditions=')) found.push(argument)
    if (argument === '--conditions' || argument === '-C') found.push(argument, process.execArgv[index + 1] ?? '')
  }
  return found
}

function shown(exit: ChildExit | undefined): string {
  return exit?.signal ?? `exit code ${exit?.code}`
}
